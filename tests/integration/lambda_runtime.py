"""Lambda's Runtime API, and the asset run on it by AWS's own runtime interface client, as Lambda runs it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ARN = "arn:aws:lambda:eu-west-1:000000000000:function:start_jobs"
NEXT = "/2018-06-01/runtime/invocation/next"
SECONDS = 60


@dataclass
class Runtime:
    """Hands invocations to the client and takes its answers, each as (response or error, body)."""

    events: Queue[tuple[str, object]] = field(default_factory=Queue)
    answers: Queue[tuple[str, Any]] = field(default_factory=Queue)

    def invoke(self, request_id: str, event: object) -> tuple[str, Any]:
        """Return what the function answers to one event."""
        self.events.put((request_id, event))
        return self.answers.get(timeout=SECONDS)


def serve(runtime: Runtime) -> ThreadingHTTPServer:
    """Serve the Runtime API on the loopback interface."""

    class Api(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path == NEXT
            request_id, event = runtime.events.get()
            body = json.dumps(event).encode()
            self.send_response(200)
            self.send_header("Lambda-Runtime-Aws-Request-Id", request_id)
            self.send_header("Lambda-Runtime-Invoked-Function-Arn", ARN)
            self.send_header("Lambda-Runtime-Deadline-Ms", "4102444800000")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            runtime.answers.put((self.path.rpartition("/")[2], body))
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@contextmanager
def function(code: Path, handler: str, environment: Mapping[str, str], log: IO[str]) -> Iterator[Runtime]:
    """Run the function whose asset lies in `code`; its output goes to `log`."""
    runtime = Runtime()
    server = serve(runtime)
    own = {
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.server_port}",
        "AWS_LAMBDA_FUNCTION_NAME": "start_jobs",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "LAMBDA_TASK_ROOT": str(code),
        "PYTHONPATH": str(code),
    }
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "awslambdaric", handler],
        env={**environment, **own},
        cwd=code,
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        yield runtime
    finally:
        process.kill()
        process.wait()
        server.shutdown()
        server.server_close()
