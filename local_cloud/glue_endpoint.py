"""The Glue endpoint's HTTP server: answers the calls that run jobs, hands every other one to the emulator."""

from __future__ import annotations

import http.client
import json
import logging
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Final
from urllib.parse import urlparse

from local_cloud.glue_api import Call
from local_cloud.glue_errors import GlueError
from local_cloud.options import HOST

logger = logging.getLogger(__name__)

CONTENT_TYPE: Final = "application/x-amz-json-1.1"
# Headers of one connection, which a proxy does not pass on.
HOP_HEADERS: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "host"})


class GlueEndpoint:
    """The server, running in a thread of its own from the start."""

    def __init__(self, port: int = 0) -> None:
        handler = type("Handler", (_Handler,), {"calls": {}, "backend": ""})
        self._handler: type[_Handler] = handler
        self._server = ThreadingHTTPServer((HOST, port), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="glue-endpoint", daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{HOST}:{self.port}"

    def serve(self, *, calls: Mapping[str, Call], backend: str) -> None:
        """Begin to answer.

        Args:
            calls: What is answered here, by the name of the call.
            backend: URL of what answers the rest.
        """
        self._handler.calls = dict(calls)
        self._handler.backend = backend
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    calls: ClassVar[dict[str, Call]] = {}
    backend: ClassVar[str] = ""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        name = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
        call = self.calls.get(name)
        if call is None:
            self._forward(body)
            return
        try:
            self._answer(200, call(json.loads(body or b"{}")))
        except GlueError as error:
            self._answer(error.status, error.to_api())
        except Exception as error:
            logger.exception("a Glue call failed", extra={"call": name})
            self._answer(500, GlueError(f"{type(error).__name__}: {error}").to_api())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        logger.debug(format, *args)

    def _forward(self, body: bytes) -> None:
        connection = http.client.HTTPConnection(urlparse(self.backend).netloc, timeout=60)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_HEADERS}
            connection.request("POST", self.path, body, headers)
            answer = connection.getresponse()
            self._send(answer.status, answer.read(), dict(answer.getheaders()))
        except OSError as error:
            self._answer(503, GlueError(f"the emulator does not answer: {error}").to_api())
        finally:
            connection.close()

    def _answer(self, status: int, value: dict[str, Any]) -> None:
        headers = {"Content-Type": CONTENT_TYPE}
        if "__type" in value:
            headers["x-amzn-ErrorType"] = value["__type"]
        self._send(status, json.dumps(value).encode(), headers)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in HOP_HEADERS:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
