"""The proxy that users and tests stand between a client and a plain-HTTP Kinesis endpoint."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from producers.chaos.plan import Chaos, ChaosCounts, ChaosPlan
from producers.chaos.server import ChaosServer
from producers.errors import ProducerError

if TYPE_CHECKING:
    from collections.abc import Callable


class ChaosProxy:
    """The proxy, listening on 127.0.0.1 from `with` on; when it ends, its threads and sockets are gone."""

    def __init__(
        self,
        upstream_url: str,
        chaos: Chaos,
        *,
        seed: int = 1,
        clock: Callable[[], float] = time.monotonic,
        hold_seconds: float | None = None,
    ) -> None:
        """Prepare it.

        Args:
            upstream_url: The endpoint, as http://host:port.
            chaos: The trouble to make.
            seed: Decides which calls and entries it meets.
            clock: Seconds, for outages.
            hold_seconds: How long to keep a client waiting for an answer that never comes, before its connection is
                closed; None waits until it gives up by itself.

        Raises:
            ProducerError: The endpoint is no plain-HTTP one.
        """
        parts = urlsplit(upstream_url)
        if parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/"):
            raise ProducerError(
                expected="a plain-HTTP endpoint such as http://127.0.0.1:4566 to make trouble in front of",
                found=upstream_url,
                do="Use the local cloud. Requests to AWS itself are signed for its own host and encrypted, so no proxy "
                "can stand in between: there, --chaos can't be had.",
            )
        self._plan = ChaosPlan(chaos, seed, clock)
        self._hold_seconds = hold_seconds
        self._upstream = (parts.hostname, parts.port or 80)
        self._server: ChaosServer | None = None

    @property
    def url(self) -> str:
        """Where clients connect to."""
        if self._server is None:
            raise RuntimeError("the proxy listens only inside `with`")
        host, port = self._server.server_address
        return f"http://{host}:{port}"

    @property
    def counts(self) -> ChaosCounts:
        """What was done until now."""
        return self._plan.counts

    def __enter__(self) -> Self:
        self._server = ChaosServer(self._upstream, self._plan, self._hold_seconds)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="chaos")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.stop()
            self._thread.join()
            self._server = None
