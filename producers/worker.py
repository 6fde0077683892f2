"""One worker of a delivery: a thread that makes the events of its own lanes, and a thread for each lane.

Events are made as they are needed and wait in short queues, so memory is bounded: where the stream does not take them,
nothing is made.
"""

from __future__ import annotations

import queue
import threading
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import psutil

from producers.intake import Due
from producers.lanes import Lane
from producers.ledger import LedgerWriter
from producers.records import Lanes
from producers.report.measures import Measures, Snapshot, merge, merge_snapshots
from producers.settings import Clock, DeliverySettings
from producers.slots import FINE_SLOTS, HashSlots, read_shards

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mypy_boto3_kinesis import KinesisClient

    from producers.profiles import Schedule
    from producers.records import Source

QUEUED_CHUNKS: Final = 32
"""Chunks that wait for a lane; each has a few thousand events at most."""
PROGRESS_S: Final = 0.5
HEEDED_S: Final = 0.2
"""How long a thread that waits for a queue takes to heed a stop."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What every worker needs to know; goes to worker processes as it is.

    Attributes:
        connect: Makes a Kinesis client; set its own retries to none, they would hide what the delivery reports.
        stream: Name of the stream.
        source: The events.
        schedule: When each is due.
        settings: How they are sent.
        ledger_directory: Where each lane keeps its account.
        seed: Seed of the pauses between retries.
        clock: Time.
    """

    connect: Callable[[], KinesisClient]
    stream: str
    source: Source
    schedule: Schedule
    settings: DeliverySettings
    ledger_directory: Path
    seed: int = 1
    clock: Clock = Clock()

    def ledger(self, lane: int) -> Path:
        """Return the file of a lane's account."""
        return self.ledger_directory / f"lane-{lane}.arrows"

    def lanes_of(self, worker: int) -> Lanes:
        """Return the lanes of a worker."""
        each = self.settings.concurrency
        return Lanes(self.settings.workers * each, tuple(range(worker * each, (worker + 1) * each)))


@dataclass(frozen=True)
class Progress:
    """How a delivery stands.

    Attributes:
        seconds: Since the start.
        snapshot: What its lanes have measured so far.
        lag_s: How far it is behind its schedule: age of the oldest event that is due and not acknowledged.
        longest_lag_s: The same at worst.
        in_flight: Events taken up and not acknowledged.
    """

    seconds: float
    snapshot: Snapshot
    lag_s: float
    longest_lag_s: float
    in_flight: int


class Worker:
    """The lanes of one process."""

    def __init__(self, task: Task, number: int, stop: threading.Event) -> None:
        """Connect to the stream; nothing is made or sent yet."""
        self._task, self._number, self._stop = task, number, stop
        self._kinesis = task.connect()
        self._shards = read_shards(self._kinesis, task.stream)
        gathers = task.settings.aggregate_bytes > 0
        self._slots = HashSlots.for_shards(len(self._shards.shard_ids)) if gathers else HashSlots(FINE_SLOTS)
        self._mine = task.lanes_of(number)
        self._queues: dict[int, queue.Queue[Due | None]] = {
            lane: queue.Queue(QUEUED_CHUNKS) for lane in self._mine.mine
        }
        self._share = 1.0 / task.settings.workers
        self._through = threading.Event()
        self._lanes: list[Lane] = []
        self._measures: list[Measures] = []
        self._failures: list[Exception] = []
        self._process = psutil.Process()
        self._started = 0.0
        self._longest_lag_s = 0.0

    def run(self, on_progress: Callable[[Progress], None], started: float | None = None) -> Progress:
        """Send everything and return how it stands at the end; `on_progress` hears of it twice a second.

        Args:
            on_progress: Hears how it stands.
            started: Reading of the clock's `elapsed` from which events are due; now, if None.

        Raises:
            LaneError: A lane gave up; the others have finished what they had taken up.
        """
        self._started = self._task.clock.elapsed() if started is None else started
        maker = threading.Thread(target=self._make, name="make", daemon=True)
        senders: list[threading.Thread] = []
        with ExitStack() as ledgers:
            for number in self._mine.mine:
                lane = self._build_lane(number, ledgers.enter_context(LedgerWriter(self._task.ledger(number))))
                self._lanes.append(lane)
                senders.append(
                    threading.Thread(target=self._send, args=(lane, number), name=f"lane-{number}", daemon=True)
                )
            for thread in (maker, *senders):
                thread.start()
            for thread in senders:
                while thread.is_alive():
                    thread.join(PROGRESS_S)
                    on_progress(self._progress())
            # Nobody takes what is left when the duration has ended.
            self._through.set()
            maker.join()
        if self._failures:
            raise self._failures[0]
        # Threads are looked at twice a second; what counts is when the last answer came.
        return replace(self._progress(), seconds=max(lane.answered_at for lane in self._lanes))

    def measures(self) -> Measures:
        """Return what the lanes have measured, once they are through."""
        return merge(self._measures)

    def _progress(self) -> Progress:
        now = self._task.clock.elapsed() - self._started
        lag = max((lane.lag(now) for lane in self._lanes), default=0.0)
        self._longest_lag_s = max(self._longest_lag_s, lag)
        waiting = lag * self._share * float(np.nan_to_num(self._task.schedule.rate_at(np.array([now]))[0]))
        # Lanes are added up, and share one process and one schedule: the first speaks for all of them.
        self._lanes[0].note_standing(now, backlog=waiting, memory_mb=self._process.memory_info().rss / 1e6)
        return Progress(
            seconds=now,
            snapshot=merge_snapshots([lane.snapshot(now) for lane in self._lanes]),
            lag_s=lag,
            longest_lag_s=self._longest_lag_s,
            in_flight=sum(lane.in_flight for lane in self._lanes),
        )

    def _build_lane(self, number: int, ledger: LedgerWriter) -> Lane:
        self._measures.append(Measures())
        return Lane(
            self._kinesis,
            self._task.stream,
            self._task.settings,
            slots=self._slots,
            shards=self._shards,
            ledger=ledger,
            measures=self._measures[-1],
            rng=np.random.default_rng([self._task.seed, number]),
            clock=self._task.clock,
            started=self._started,
            stop=self._stop,
            paced=len(self._task.schedule.rates) > 0,
        )

    def _make(self) -> None:
        """Make events and queue them, each lane's in its own queue."""
        try:
            for chunk in self._task.source.chunks(self._mine):
                due = self._task.schedule.due(np.array(chunk.positions)).tolist()
                if not self._offer(self._queues[chunk.lane], Due(chunk, due)):
                    return
            for waiting in self._queues.values():
                self._offer(waiting, None)
        except Exception as error:
            self._fail(error)

    def _offer(self, waiting: queue.Queue[Due | None], item: Due | None) -> bool:
        while not (self._stop.is_set() or self._through.is_set()):
            try:
                waiting.put(item, timeout=HEEDED_S)
            except queue.Full:
                continue
            return True
        return False

    def _feed(self, waiting: queue.Queue[Due | None]) -> Iterator[Due]:
        while not self._stop.is_set():
            try:
                item = waiting.get(timeout=HEEDED_S)
            except queue.Empty:
                continue
            if item is None:
                return
            yield item

    def _send(self, lane: Lane, number: int) -> None:
        try:
            lane.run(self._feed(self._queues[number]))
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._failures.append(error)
        self._stop.set()
