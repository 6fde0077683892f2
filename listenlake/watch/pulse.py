"""The pulse of a record processor: a small file that it replaces each second, and what the session makes of all.

Cheap to write and to read; counts are of deliveries, so an event that came twice counts twice. `verification` has the
exact figures.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import psutil

READING: Final = "reading"
STARTING: Final = "starting"
ENDED: Final = "ended"
STALE_SECONDS: Final = 15.0
SUFFIX: Final = ".json"


@dataclass(kw_only=True)
class Pulse:
    """What one record processor last said of itself.

    Attributes:
        shard_id: Its shard.
        worker_id: The worker whose daemon started it.
        pid: Its process.
        state: `starting`, `reading`, or `ended`: the lease was lost, or the shard or the worker ended.
        updated_at: When it said so, in seconds since the epoch.
        events: Events since it started.
        rate: Events a second since the pulse before.
        behind_ms: How far it reads behind the tip of the shard.
        p50_ms: Put-to-consumer latency since the pulse before; None when nothing came.
        p95_ms: Likewise.
        first_seen_at: When its first event came.
    """

    shard_id: str
    worker_id: str
    pid: int = field(default_factory=os.getpid)
    state: str = STARTING
    updated_at: float = 0.0
    events: int = 0
    rate: float = 0.0
    behind_ms: int | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    first_seen_at: float | None = None

    def write(self, folder: Path) -> None:
        """Replace the file of this process."""
        self.updated_at = time.time()
        path = folder / f"{self.shard_id}.{self.pid}{SUFFIX}"
        part = path.with_suffix(".part")
        part.write_text(json.dumps(asdict(self)))
        part.replace(path)

    def is_reading(self) -> bool:
        """Tell whether the process lives and reads its shard."""
        fresh = time.time() - self.updated_at < STALE_SECONDS
        return self.state == READING and fresh and psutil.pid_exists(self.pid)


@dataclass(frozen=True, kw_only=True)
class ShardProgress:
    """One shard: who reads it, how much came, how late."""

    shard_id: str
    worker_id: str | None
    reading: bool
    events: int
    rate: float
    behind_ms: int | None
    p50_ms: float | None
    p95_ms: float | None


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The whole stream.

    Attributes:
        shards: By shard id.
        workers: Daemons that run.
        restarts: Daemons that were started again.
    """

    shards: tuple[ShardProgress, ...]
    workers: int
    restarts: int

    @property
    def events(self) -> int:
        """Events delivered, redeliveries included."""
        return sum(shard.events for shard in self.shards)

    @property
    def rate(self) -> float:
        """Events a second, just now."""
        return sum(shard.rate for shard in self.shards)

    @property
    def is_reading(self) -> bool:
        """Tell whether every shard is read."""
        return all(shard.reading for shard in self.shards)

    @property
    def is_at_tip(self) -> bool:
        """Tell whether every shard is read and nothing in it waits."""
        return all(shard.reading and shard.behind_ms == 0 for shard in self.shards)


def read_pulses(folder: Path) -> list[Pulse]:
    """Return the last pulse of every record processor that ever ran here."""
    return [Pulse(**json.loads(path.read_text())) for path in sorted(folder.glob(f"*{SUFFIX}"))]


def sum_up(pulses: Iterable[Pulse], open_shards: Iterable[str], *, workers: int, restarts: int) -> Progress:
    """Return the progress of every open shard, and of every other one that something came from."""
    by_shard: dict[str, list[Pulse]] = {shard_id: [] for shard_id in open_shards}
    for pulse in pulses:
        by_shard.setdefault(pulse.shard_id, []).append(pulse)
    wanted = set(open_shards)
    shards = [_sum_up_shard(name, found) for name, found in sorted(by_shard.items()) if name in wanted or found]
    return Progress(shards=tuple(shards), workers=workers, restarts=restarts)


def _sum_up_shard(shard_id: str, pulses: list[Pulse]) -> ShardProgress:
    last = max(pulses, key=lambda pulse: pulse.updated_at, default=None)
    reading = last is not None and last.is_reading()
    return ShardProgress(
        shard_id=shard_id,
        worker_id=last.worker_id if last else None,
        reading=reading,
        events=sum(pulse.events for pulse in pulses),
        rate=last.rate if last and reading else 0.0,
        behind_ms=last.behind_ms if last and reading else None,
        p50_ms=last.p50_ms if last and reading else None,
        p95_ms=last.p95_ms if last and reading else None,
    )
