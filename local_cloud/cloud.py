"""A running local cloud, as its callers hold it."""

from __future__ import annotations

import time
from contextlib import suppress
from subprocess import TimeoutExpired
from typing import TYPE_CHECKING, Any, Final

from local_cloud.clients import make_client
from local_cloud.environment import cloud_environment, places

if TYPE_CHECKING:
    from pathlib import Path

    from botocore.config import Config

    from lakehouse.settings import Places
    from local_cloud.processes import GuardedProcess
    from local_cloud.state import CloudRecord, State
    from local_cloud.toolchain import Toolchain

CLOSE_SECONDS: Final = 90.0


class Cloud:
    """Clients, names and environment of one local cloud; a context manager that closes it."""

    def __init__(
        self, state: State, record: CloudRecord, tools: Toolchain, *, tie: GuardedProcess | None = None
    ) -> None:
        """Hold a running cloud.

        Args:
            state: Its folder.
            record: What runs there.
            tools: Java and the rest.
            tie: What ends the cloud when this process goes; None for a cloud that stands alone.
        """
        self.record = record
        self._state = state
        self._tools = tools
        self._tie = tie

    @property
    def state(self) -> Path:
        """The state folder."""
        return self._state.folder

    @property
    def places(self) -> Places:
        """Names of this cloud's buckets, stream and tables."""
        return places(self.record.options)

    @property
    def environment(self) -> dict[str, str]:
        """Variables that make any job, AWS client or Spark session use this cloud."""
        return cloud_environment(self._state, self.record, self._tools)

    def client(self, service: str, *, config: Config | None = None) -> Any:
        """Return a boto3 client of this cloud."""
        endpoint = self.record.glue_endpoint if service == "glue" else self.record.endpoint
        return make_client(service, endpoint, config=config)

    def detach(self) -> None:
        """Let the cloud live on after this process; `lifecycle.down` ends it."""
        if self._tie is not None:
            self._tie.detach()
            self._tie = None

    def close(self) -> None:
        """End the cloud and wait for it, unless it was detached."""
        tie, self._tie = self._tie, None
        if tie is None:
            return
        tie.stop(CLOSE_SECONDS)
        with suppress(TimeoutExpired):
            tie.wait(CLOSE_SECONDS + 10)
        deadline = time.monotonic() + 10
        while self.record.emulator.is_alive() and time.monotonic() < deadline:
            time.sleep(0.05)
        self._state.forget()

    def __enter__(self) -> Cloud:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
