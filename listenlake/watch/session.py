"""One session of a watch: start the workers, follow them, wait for a result, stop them; resumes what was cut off.

What must hold: after `stop`, and after the death of this process however it came, no process of the watch is left;
unless the tables are kept for a resume, no table either.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final

from listenlake.watch.daemon import Target, configure_daemon
from listenlake.watch.errors import WatchError
from listenlake.watch.folder import WatchFolder, WatchRecord
from listenlake.watch.leases import create_leases, delete_tables, is_open, list_shards
from listenlake.watch.pulse import Progress, read_pulses, sum_up
from listenlake.watch.verification import count_acknowledged, count_missing, verify
from listenlake.watch.workers import WorkerPool
from local_cloud.processes import end_left

if TYPE_CHECKING:
    import pyarrow as pa

    from listenlake.watch.verdict import Verification

TRIM_HORIZON: Final = "TRIM_HORIZON"
LATEST: Final = "LATEST"
START_SECONDS: Final = 180.0
POLL_SECONDS: Final = 0.25
SHARDS_EVERY_SECONDS: Final = 5.0
COUNTING_SHARE: Final = 10.0


@dataclass(frozen=True, kw_only=True)
class WatchSettings:
    """Choices of a watch.

    Attributes:
        workers: Daemons that share the shards.
        position: `TRIM_HORIZON` or `LATEST`: where shards without a checkpoint begin.
    """

    workers: int = 1
    position: str = TRIM_HORIZON


class Watch:
    """A context manager; leaving it by an error keeps the tables, so that the next session resumes."""

    def __init__(
        self,
        folder: Path,
        target: Target,
        settings: WatchSettings | None = None,
        *,
        on_event: Callable[[str], None] = lambda _line: None,
    ) -> None:
        """Prepare a session; `start` or `with` begins it.

        Args:
            folder: Folder for everything it keeps. One that an earlier session was cut off in is resumed.
            target: What to watch.
            settings: How.
            on_event: Hears a line when something happens, from any thread.
        """
        self._folder = WatchFolder(folder)
        self._target = target
        self._settings = settings or WatchSettings()
        self._on_event = on_event
        self._held = ExitStack()
        self._pool: WorkerPool | None = None
        self._shards: list[str] = []
        self._shards_listed = 0.0

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, traceback: TracebackType | None) -> None:
        self.stop(keep_tables=kind is not None)

    def start(self) -> None:
        """Start the workers.

        Raises:
            KinesisClientMissingError: The extra `kcl` is not installed.
            WatchBusyError: Another session works in the folder.
            WatchError: There is no such stream.
        """
        self._held.enter_context(self._folder.locked())
        try:
            # Daemons of a session that was killed may still be on their way out.
            end_left(self._folder.path)
            self._record = self._prepare()
            names = [f"worker-{number}" for number in range(1, self._settings.workers + 1)]
            daemons = [configure_daemon(self._folder, self._record, self._target, name) for name in names]
            self._pool = WorkerPool(self._folder.path, daemons, self._on_event)
        except BaseException:
            self._held.close()
            raise

    @property
    def restarts(self) -> int:
        """Daemons started in the place of one that died, in all sessions of this watch."""
        return self._record.restarts + (self._pool.restarts if self._pool else 0)

    def progress(self) -> Progress:
        """Return what the record processors last said.

        Raises:
            WatchError: A daemon dies each time it is started.
        """
        if self._pool is not None:
            self._pool.check()
        if time.monotonic() - self._shards_listed > SHARDS_EVERY_SECONDS:
            shards = list_shards(self._target.kinesis, self._target.stream)
            self._shards = [shard["ShardId"] for shard in shards if is_open(shard)]
            self._shards_listed = time.monotonic()
        running = self._pool.running if self._pool else 0
        return sum_up(read_pulses(self._folder.pulses), self._shards, workers=running, restarts=self.restarts)

    def wait_until_reading(self, timeout: float = START_SECONDS) -> Progress:
        """Wait until every shard is read.

        Raises:
            WatchError: One is not, in time.
        """
        deadline = time.monotonic() + timeout
        while not (progress := self.progress()).is_reading:
            if time.monotonic() > deadline:
                idle = [shard.shard_id for shard in progress.shards if not shard.reading]
                raise WatchError(
                    expected=f"every shard of {self._target.stream} to be read within {timeout:.0f} s",
                    found=f"nobody who reads {', '.join(idle)}",
                    do=f"Read the logs in {self._folder.workers}, or allow more time.",
                )
            time.sleep(POLL_SECONDS)
        return progress

    def wait_for(
        self,
        ledger: pa.Table,
        *,
        idle: float = 15.0,
        timeout: float = 600.0,
        on_progress: Callable[[Progress], None] = lambda _progress: None,
    ) -> bool:
        """Wait until every acknowledged event of a ledger was seen.

        Args:
            ledger: `Truth.records` of a manifest.
            idle: Give up when every shard was read to its tip and nothing more came for so many seconds.
            timeout: Give up after so many seconds in any case.
            on_progress: Hears how far it is, several times a second.

        Returns:
            Whether nothing is missing.
        """
        expected = count_acknowledged(ledger)
        now = time.monotonic()
        deadline, last_came, count_again, counted = now + timeout, now, now, -1
        while True:
            progress = self.progress()
            on_progress(progress)
            now = time.monotonic()
            if progress.events != counted or not progress.is_at_tip:
                last_came = now
            if now >= count_again and (progress.events >= expected or progress.is_at_tip):
                counted = progress.events
                if count_missing(ledger, self._folder.observations) == 0:
                    return True
                # Counting reads everything: let it take a small part of the time only.
                count_again = time.monotonic() + COUNTING_SHARE * (time.monotonic() - now)
            if now > min(deadline, last_came + idle):
                return count_missing(ledger, self._folder.observations) == 0
            time.sleep(POLL_SECONDS)

    def verify(self, ledger: pa.Table) -> Verification:
        """Compare what was seen so far with a ledger (`Truth.records` of a manifest)."""
        return verify(ledger, self._folder.observations, restarts=self.restarts)

    def stop(self, *, keep_tables: bool = False) -> None:
        """End the workers, and delete the application's tables unless a later session shall resume."""
        if self._pool is None:
            return
        pool, self._pool = self._pool, None
        try:
            pool.stop()
            end_left(self._folder.path)
            if not keep_tables:
                delete_tables(self._target.dynamodb, self._record.application)
            self._record = replace(self._record, restarts=self._record.restarts + pool.restarts, ended=not keep_tables)
            self._folder.write(self._record)
        finally:
            self._held.close()

    def _prepare(self) -> WatchRecord:
        kinesis, dynamodb, stream = self._target.kinesis, self._target.dynamodb, self._target.stream
        try:
            summary = kinesis.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]
        except kinesis.exceptions.ResourceNotFoundException:
            raise WatchError(
                expected=f"a stream {stream}", found="none", do="Deploy the stack, or name another stream."
            ) from None
        created_at = summary["StreamCreationTimestamp"].timestamp()
        former = self._folder.read()
        if former is not None and former.can_resume(stream, created_at):
            return former
        if former is not None and not former.ended:
            delete_tables(dynamodb, former.application)
        self._folder.clear()
        record = WatchRecord.new(stream, created_at, self._settings.position)
        self._folder.write(record)
        create_leases(dynamodb, record.application, list_shards(kinesis, stream), record.position)
        return record
