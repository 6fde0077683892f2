"""A whole delivery: one schedule, any number of workers, one account."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from producers.crew import Crew
from producers.errors import DeliveryError, LaneError
from producers.ledger import read_ledger
from producers.slots import read_shards
from producers.worker import Progress, Task, Worker

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    import pyarrow as pa

    from producers.profiles import Schedule
    from producers.report.measures import Measures


@dataclass(frozen=True, kw_only=True)
class DeliveryReport:
    """What became of the events.

    Attributes:
        made: Events that there were to send.
        schedule: When each event was due.
        shard_ids: Open shards at the start.
        ledger: One row per event taken up, by `producers.ledger.LEDGER`.
        measures: What was measured.
        started_at: Epoch seconds.
        seconds: From the start to the last answer.
        longest_lag_s: How far delivery was behind its schedule at worst.
        stopped: It was told to stop.
    """

    made: int
    schedule: Schedule
    shard_ids: tuple[str, ...]
    ledger: pa.Table
    measures: Measures
    started_at: float
    seconds: float
    longest_lag_s: float
    stopped: bool

    @property
    def sent(self) -> int:
        """Events taken up."""
        return len(self.ledger)

    @property
    def acknowledged(self) -> int:
        """Events that the stream acknowledged."""
        return self.sent - int(self.ledger["shard_id"].null_count)

    @property
    def failed(self) -> int:
        """Events taken up and not acknowledged."""
        return self.sent - self.acknowledged

    def summary(self) -> dict[str, Any]:
        """Return the figures without the account."""
        return {
            "made": self.made,
            "sent": self.sent,
            "acknowledged": self.acknowledged,
            "not_acknowledged": self.failed,
            "never_sent": self.made - self.sent,
            "retried": self.measures.totals.retried,
            "seconds": round(self.seconds, 3),
            "events_per_second": round(self.acknowledged / self.seconds, 1) if self.seconds > 0 else 0.0,
            "longest_lag_s": round(self.longest_lag_s, 3),
            "stopped": self.stopped,
        }


def deliver(
    task: Task, stop: threading.Event, on_progress: Callable[[Progress], None] = lambda _progress: None
) -> DeliveryReport:
    """Send every event of the task, in this process or in as many as the settings say.

    Args:
        task: What to send, where and how.
        stop: Set it to end gracefully: what was taken up is finished.
        on_progress: Hears twice a second how it stands.

    Raises:
        DeliveryError: The stream is missing or refuses, or failed for too long; it carries the account.
    """
    shutil.rmtree(task.ledger_directory, ignore_errors=True)
    task.ledger_directory.mkdir(parents=True)
    shard_ids = read_shards(task.connect(), task.stream).shard_ids
    standing: list[Progress] = []

    def note(progress: Progress) -> None:
        standing[:] = [progress]
        on_progress(progress)

    started_at = task.clock.now()
    crew = Worker(task, 0, stop) if task.settings.workers == 1 else Crew(task, stop)
    failure: LaneError | None = None
    try:
        note(crew.run(note))
    except LaneError as error:
        failure = error
    report = DeliveryReport(
        made=len(task.source),
        schedule=task.schedule,
        shard_ids=shard_ids,
        ledger=read_ledger(sorted(task.ledger_directory.iterdir())),
        measures=crew.measures(),
        started_at=started_at,
        seconds=standing[0].seconds if standing else 0.0,
        longest_lag_s=standing[0].longest_lag_s if standing else 0.0,
        stopped=failure is None and stop.is_set(),
    )
    if failure is not None:
        raise DeliveryError(report, expected=failure.expected, found=failure.found, do=failure.do) from failure
    return report
