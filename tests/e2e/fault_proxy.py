"""A loopback proxy that spoils some of a consumer's calls: Kinesis reads and S3 requests of any method."""

from __future__ import annotations

import contextlib
import http.client
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, Final
from urllib.parse import urlsplit

HANG_SECONDS: Final = 0.2
_HOP_BY_HOP: Final = frozenset({"connection", "content-length", "keep-alive", "transfer-encoding", "date", "server"})


@dataclass(frozen=True)
class Fault:
    """An answer in place of the endpoint's; status 0 hangs up without one."""

    name: str
    status: int
    body: bytes = b""
    kind: str = "application/xml"


THROTTLE: Final = Fault(
    "throttle", 400, b'{"__type":"ProvisionedThroughputExceededException"}', "application/x-amz-json-1.1"
)
TIMEOUT: Final = Fault("timeout", 0)
SLOW_DOWN: Final = Fault("slow_down", 503, b"<Error><Code>SlowDown</Code><Message>injected</Message></Error>")


@dataclass
class Faults:
    """Draws a fault for each call that `meets`, by shares; counts what was done."""

    meets: Callable[[Mapping[str, str]], bool]
    shares: dict[Fault, float]
    rng: random.Random
    counts: Counter[str] = field(default_factory=Counter)
    _lock: Lock = field(default_factory=Lock)

    def draw(self, headers: Mapping[str, str]) -> Fault | None:
        """Decide about one call."""
        if not self.meets(headers):
            return None
        with self._lock:
            self.counts["calls"] += 1
            place = self.rng.random()
            for fault, share in self.shares.items():
                if place < share:
                    self.counts[fault.name] += 1
                    return fault
                place -= share
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, upstream: str, faults: Faults) -> None:
        self.upstream = urlsplit(upstream).netloc
        self.faults = faults
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients are killed here; a lost connection is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.server.faults.draw(dict(self.headers))
        if fault is None:
            self._forward(body)
        elif fault.status:
            self._answer(fault.status, [("Content-Type", fault.kind)], fault.body, len(fault.body))
        else:
            time.sleep(HANG_SECONDS)
            self.close_connection = True

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any  # noqa: N815 - the base class's names

    def log_message(self, *_: Any) -> None:
        pass

    def _forward(self, body: bytes) -> None:
        upstream = http.client.HTTPConnection(self.server.upstream, timeout=60)
        try:
            upstream.request(self.command, self.path, body, dict(self.headers))
            answer = upstream.getresponse()
            content = answer.read()
            size = len(content) if self.command != "HEAD" else int(answer.getheader("Content-Length", "0"))
            self._answer(answer.status, answer.getheaders(), content, size)
        finally:
            upstream.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes, size: int) -> None:
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@contextmanager
def fault_proxy(upstream: str, faults: Faults) -> Iterator[str]:
    """Listen in front of an endpoint until the end of the block, and tell where."""
    server = _Server(upstream, faults)
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        with contextlib.suppress(OSError):
            server.shutdown()
        thread.join()
        server.server_close()
