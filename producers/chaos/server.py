"""The HTTP between client and endpoint: one thread and one upstream connection for each connection of a client.

In: a client's requests. Out: the endpoint's answers, save where a `ChaosPlan` wants trouble. What a client is told is
always true of the stream, but for calls that get no answer: entries that an answer refuses were never handed on.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
import selectors
import socket
import socketserver
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, Final

from producers.chaos.answers import JSON_TYPE, THROTTLED, Answer, Refusal, error_answer
from producers.chaos.plan import ChaosPlan, Fate

if TYPE_CHECKING:
    import random

logger = logging.getLogger(__name__)

PUT_RECORDS: Final = "Kinesis_20131202.PutRecords"
UPSTREAM_SECONDS: Final = 60.0
# `x-amz-crc32` is a sum over a body that may have been changed; the others hold for one connection only (RFC 9110).
_NOT_PASSED_ON: Final = frozenset(
    {"connection", "content-length", "host", "keep-alive", "te", "trailer", "transfer-encoding", "x-amz-crc32"}
)


class ChaosServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """One thread for each connection."""

    allow_reuse_address = True
    daemon_threads = False
    request_queue_size = 128
    server_address: tuple[str, int]

    def __init__(self, upstream: tuple[str, int], plan: ChaosPlan, hold_seconds: float | None) -> None:
        self.plan = plan
        self.hold_seconds = hold_seconds
        self.upstream = upstream
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._stopping = False
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin a thread for a new connection."""
        self.note(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        self.forget(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base class's own
        """Log what went wrong; a lost connection is no news here."""
        if isinstance(sys.exception(), OSError):
            logger.debug("connection lost", exc_info=True)
        else:
            logger.exception("request failed")

    def note(self, connection: socket.socket) -> None:
        """Keep a connection in mind, so that `stop` can wake whoever waits for it."""
        with self._lock:
            if self._stopping:
                raise ConnectionAbortedError("the proxy stops")
            self._open.add(connection)

    def forget(self, connection: socket.socket) -> None:
        """Mind a connection no longer; to be called before it is closed."""
        with self._lock:
            self._open.discard(connection)

    def stop(self) -> None:
        """End every connection, then wait for the threads."""
        self.shutdown()
        with self._lock:
            self._stopping = True
            for connection in self._open:
                _hang_up(connection)
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    """The requests of one connection, and a connection of its own to the endpoint."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: ChaosServer

    def setup(self) -> None:
        super().setup()
        self._upstream = http.client.HTTPConnection(*self.server.upstream, timeout=UPSTREAM_SECONDS)

    def finish(self) -> None:
        self._drop_upstream()
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        logger.debug(format, *args)

    def do_POST(self) -> None:
        is_put = self.headers.get("X-Amz-Target") == PUT_RECORDS
        if foreign := self._find_foreign(is_put=is_put):
            self.close_connection = True
            self._answer(error_answer("SerializationException", foreign))
        elif is_put:
            self._put_records()
        elif self.server.plan.in_outage():
            self.close_connection = True
        elif answer := self._forward(self._read()):
            self._answer(answer)

    def _put_records(self) -> None:
        plan = self.server.plan
        fate, rng = plan.begin_call()
        if fate is Fate.REFUSED:
            plan.count(refused_in_outage=1)
            self.close_connection = True
            return
        body = self._read()
        if fate is Fate.THROTTLED:
            plan.count(throttled=1)
            self._answer(error_answer(THROTTLED))
        elif fate is Fate.PASSED:
            self._pass_on(body, rng)
        else:
            answer = self._forward(body) if fate is Fate.UNANSWERED else None
            delivered = answer is not None and answer.status == HTTPStatus.OK
            plan.count(timeouts=1, delivered_without_answer=delivered)
            self.close_connection = True
            # Nothing comes but the end: the client gives up, or the proxy does.
            _has_news(self.connection, self.server.hold_seconds)

    def _pass_on(self, body: bytes, rng: random.Random) -> None:
        plan = self.server.plan
        refusal: Refusal | None = None
        if plan.refuses_entries:  # Reading the body costs more than all the rest.
            refusal = Refusal.choose(body, lambda entries: plan.refused_entries(entries, rng))
        refused = 0
        if refusal is not None and refusal.is_whole:
            answer: Answer | None = refusal.merge(None)
            refused = refusal.entries
        else:
            answer = self._forward(body if refusal is None else refusal.body)
            if refusal is not None and answer is not None and answer.status == HTTPStatus.OK:
                answer = refusal.merge(answer)
                refused = len(refusal.places)
        if answer is None:
            plan.count(failed_upstream=1)
            return
        plan.count(passed=1, partial_entries=refused)
        self._answer(answer)

    def _find_foreign(self, *, is_put: bool) -> str | None:
        """Return what is wrong with a request that no fault could be injected into."""
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip()
        is_plain = kind == JSON_TYPE and "Content-Encoding" not in self.headers
        if "Content-Length" not in self.headers:
            return "The fault proxy needs a Content-Length."
        if self.path.endswith("/operation/PutRecords") or (is_put and not is_plain):
            return f"The fault proxy reads PutRecords as plain {JSON_TYPE}, not as {kind} at {self.path}."
        return None

    def _read(self) -> bytes:
        body = self.rfile.read(length := int(self.headers["Content-Length"]))
        if len(body) < length:
            raise ConnectionAbortedError("the client hung up")
        return body

    def _forward(self, body: bytes) -> Answer | None:
        """Hand the request on, with this body; None when no answer came: then the client gets none either."""
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _NOT_PASSED_ON}
        try:
            upstream = self._connect()
            upstream.request("POST", self.path, body, headers)
            with upstream.getresponse() as response:
                return Answer(response.status, response.getheaders(), response.read())
        except (OSError, http.client.HTTPException):
            logger.warning("the endpoint gave no answer", exc_info=True)
            self.close_connection = True
            self._drop_upstream()
            return None

    def _connect(self) -> http.client.HTTPConnection:
        # A connection that has something to say between two requests has ended.
        if self._upstream.sock is None or _has_news(self._upstream.sock, 0):
            self._drop_upstream()
            self._upstream.connect()
            self.server.note(self._upstream.sock)
        return self._upstream

    def _drop_upstream(self) -> None:
        if self._upstream.sock is not None:
            self.server.forget(self._upstream.sock)
        self._upstream.close()

    def _answer(self, answer: Answer) -> None:
        self.send_response_only(answer.status)
        for name, value in answer.headers:
            if name.lower() not in _NOT_PASSED_ON:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(answer.body)


def _has_news(connection: socket.socket, seconds: float | None) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(connection, selectors.EVENT_READ)
        return bool(selector.select(seconds))


def _hang_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
