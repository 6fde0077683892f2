"""The folder of a watch: what its processes write, and what a second session needs to go on where the first ended.

watch.json      application name, stream, whether it ended in order      observations/  a file for each record processor
watch.lock      held while a session works here                          pulses/        likewise, replaced each second
workers/ID/     configuration and log of each worker's daemon
"""

from __future__ import annotations

import fcntl
import json
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

from listenlake.watch.errors import WatchBusyError

FOLDER_VARIABLE: Final = "LISTENLAKE_WATCH_FOLDER"
WORKER_VARIABLE: Final = "LISTENLAKE_WATCH_WORKER"
APPLICATION_PREFIX: Final = "listenlake-watch-"


@dataclass(frozen=True, kw_only=True)
class WatchRecord:
    """What is being watched.

    Attributes:
        application: Name of the Kinesis Client application: of its lease table, too.
        stream: The stream.
        stream_created_at: When the stream was made, in seconds since the epoch: another one may bear its name.
        position: Where shards without a checkpoint begin.
        ended: Whether the watch ended in order, so that there is nothing to resume.
        restarts: Daemons started again so far.
    """

    application: str
    stream: str
    stream_created_at: float
    position: str
    ended: bool = False
    restarts: int = 0

    @classmethod
    def new(cls, stream: str, stream_created_at: float, position: str) -> Self:
        """Return the record of a watch that begins, under an application name that nobody else has."""
        return cls(
            application=APPLICATION_PREFIX + secrets.token_hex(6),
            stream=stream,
            stream_created_at=stream_created_at,
            position=position,
        )

    def can_resume(self, stream: str, stream_created_at: float) -> bool:
        """Tell whether a watch of this stream goes on from here."""
        return not self.ended and (self.stream, self.stream_created_at) == (stream, stream_created_at)


@dataclass(frozen=True)
class WatchFolder:
    """The folder and its parts."""

    path: Path

    @property
    def observations(self) -> Path:
        """What record processors saw."""
        return self.path / "observations"

    @property
    def pulses(self) -> Path:
        """The last word of each record processor."""
        return self.path / "pulses"

    @property
    def workers(self) -> Path:
        """One folder for each worker."""
        return self.path / "workers"

    def read(self) -> WatchRecord | None:
        """Return the record, or None when nothing was watched here."""
        try:
            return WatchRecord(**json.loads((self.path / "watch.json").read_text()))
        except FileNotFoundError:
            return None

    def write(self, record: WatchRecord) -> None:
        """Replace the record."""
        part = self.path / "watch.json.part"
        part.write_text(json.dumps(asdict(record), indent=1) + "\n")
        part.replace(self.path / "watch.json")

    def clear(self) -> None:
        """Forget a former watch."""
        (self.path / "watch.json").unlink(missing_ok=True)
        for part in (self.observations, self.pulses, self.workers):
            shutil.rmtree(part, ignore_errors=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder; the lock goes with the process, however it ends.

        Raises:
            WatchBusyError: Another session holds it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "watch.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise WatchBusyError(
                    expected=f"no other watch in {self.path}",
                    found="one that is at work",
                    do="Wait for it, or choose another folder.",
                ) from None
            yield
