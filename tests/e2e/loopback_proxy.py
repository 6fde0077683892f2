"""A loopback proxy in front of an endpoint, which may answer a call in the endpoint's place and sees every answer."""

from __future__ import annotations

import contextlib
import http.client
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Final
from urllib.parse import urlsplit

HANG_SECONDS: Final = 0.2
_HOP_BY_HOP: Final = frozenset({"connection", "content-length", "keep-alive", "transfer-encoding", "date", "server"})


@dataclass(frozen=True)
class Call:
    """One request; `path` has the query too, names of headers are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def target(self) -> str:
        """Service and action of a call whose body is JSON, `AWSGlue.GetJobRun`; empty for S3."""
        return self.headers.get("x-amz-target", "")


@dataclass(frozen=True)
class Fault:
    """An answer in place of the endpoint's; status 0 hangs up without one."""

    name: str
    status: int
    body: bytes = b""
    kind: str = "application/xml"


def _nothing(_call: Call, _answer: bytes) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Proxied:
    """What a proxy does.

    Attributes:
        upstream: URL of the endpoint for a call.
        intervene: Returns what to answer instead; None passes the call on.
        hear: Told of each call that was answered well, and of the answer's body.
    """

    upstream: Callable[[Call], str]
    intervene: Callable[[Call], Fault | None]
    hear: Callable[[Call, bytes], None] = _nothing


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, proxied: Proxied) -> None:
        self.proxied = proxied
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients are killed here; a lost connection is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        call = Call(self.command, self.path, headers, body)
        fault = self.server.proxied.intervene(call)
        if fault is None:
            self._forward(call)
        elif fault.status:
            self._answer(fault.status, [("Content-Type", fault.kind)], fault.body, len(fault.body))
        else:
            time.sleep(HANG_SECONDS)
            self.close_connection = True

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any  # noqa: N815 - the base class's names

    def log_message(self, *_: Any) -> None:
        pass

    def _forward(self, call: Call) -> None:
        upstream = http.client.HTTPConnection(urlsplit(self.server.proxied.upstream(call)).netloc, timeout=60)
        try:
            upstream.request(call.method, call.path, call.body, dict(call.headers))
            answer = upstream.getresponse()
            content = answer.read()
            if answer.status < http.client.MULTIPLE_CHOICES:
                self.server.proxied.hear(call, content)
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
def loopback_proxy(proxied: Proxied) -> Iterator[str]:
    """Listen until the end of the block, and tell where."""
    server = _Server(proxied)
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        with contextlib.suppress(OSError):
            server.shutdown()
        thread.join()
        server.server_close()
