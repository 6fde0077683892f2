"""One lane of an open-loop delivery: events go out when they are due, whether or not the system keeps up.

Only the failed records of a call are sent again; the order of a key holds from call to call (`producers.held`). Nothing
acknowledged goes unsaid, nothing unacknowledged is claimed. A call whose answer got lost may have arrived: its records
are sent again, so a record may stand in the stream twice under one acknowledgement.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final

import numpy as np

from producers.errors import LaneError
from producers.held import Held
from producers.intake import Due, Intake
from producers.packing import Entry, Packer
from producers.put_records import NO_ANSWER, Answer, put_records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_kinesis import KinesisClient

    from producers.ledger import LedgerWriter
    from producers.report.measures import Measures, Snapshot
    from producers.settings import Clock, DeliverySettings
    from producers.slots import HashSlots, ShardMap

LONGEST_PAUSE_S: Final = 0.2
"""Waiting for the next event is cut to this length, so that a stop is heeded at once."""


class Lane:
    """Sends the events of one lane, in order."""

    def __init__(
        self,
        kinesis: KinesisClient,
        stream: str,
        settings: DeliverySettings,
        *,
        slots: HashSlots,
        shards: ShardMap,
        ledger: LedgerWriter,
        measures: Measures,
        rng: np.random.Generator,
        clock: Clock,
        started: float,
        stop: threading.Event,
        paced: bool = True,
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            kinesis: Client; several lanes may share it.
            stream: Name of the stream.
            settings: How to send.
            slots: Slots of the hash space; the same for all lanes of a delivery.
            shards: Who owns them.
            ledger: Where the account goes.
            measures: Where calls are noted.
            rng: Draws the pauses between tries.
            clock: Time.
            started: Reading of `clock.elapsed` that due times count from.
            stop: Ends the lane gracefully.
            paced: Events have due times; without, everything is due at once and delays mean nothing.
        """
        self._kinesis, self._stream, self._settings = kinesis, stream, settings
        self._shards, self._paced = shards, paced
        self._packer = Packer(slots, settings.aggregate_bytes)
        self._held = Held(slots, shards, settings, rng)
        self._intake: Intake | None = None
        self._ledger, self._measures = ledger, measures
        self._clock, self._started, self._stop = clock, started, stop
        self._answered_at = 0.0
        self._lock = threading.Lock()

    def snapshot(self, now: float) -> Snapshot:
        """Return where the lane stands, `now` seconds from the start; any thread may ask."""
        with self._lock:
            return self._measures.snapshot(now)

    @property
    def answered_at(self) -> float:
        """When the last call was answered or given up, in seconds from the start."""
        return self._answered_at

    @property
    def in_flight(self) -> int:
        """Events taken up and not acknowledged."""
        taken = self._intake.taken if self._intake is not None else 0
        return taken - self._measures.totals.acknowledged

    def note_standing(self, now: float, *, backlog: float, memory_mb: float) -> None:
        """Note how many events wait and what the process holds in memory, `now` seconds from the start."""
        with self._lock:
            self._measures.note_backlog(now, backlog)
            self._measures.note_memory(now, memory_mb)

    def lag(self, now: float) -> float:
        """Return how far the lane is behind its events, in seconds: the oldest one due and not acknowledged."""
        following = self._intake.next_due if self._intake is not None else None
        dues = [due for due in (self._held.oldest_due, following) if due is not None]
        return max(0.0, now - min(dues)) if dues else 0.0

    def run(self, feed: Iterator[Due]) -> None:
        """Send what `feed` gives until it ends, the duration ends or `stop` is set; what was taken up is finished.

        Raises:
            LaneError: The stream is missing or refuses, an event is too large, or a record failed for too long.
        """
        intake = self._intake = Intake(feed, self._packer, self._settings)
        try:
            while True:
                now = self._clock.elapsed() - self._started
                if not (self._held.is_full or self._stop.is_set() or intake.is_empty):
                    self._held.add(intake.take(now))
                is_taking = not (intake.is_empty or self._stop.is_set())
                call = self._held.choose(now)
                if call:
                    self._send(call)
                elif is_taking or self._held:
                    self._clock.sleep(self._pause(now, intake if is_taking else None))
                else:
                    return
        finally:
            self._give_up()

    def _pause(self, now: float, intake: Intake | None) -> float:
        """Return how long there is nothing to do, in seconds."""
        gathered = intake.gathered_at() if intake is not None and not self._held.is_full else None
        moments = [moment for moment in (self._held.next_try(now), gathered) if moment is not None]
        return min(max(min(moments, default=now + LONGEST_PAUSE_S) - now, 0.0), LONGEST_PAUSE_S)

    def _send(self, call: list[Entry]) -> None:
        """Make one call; what fails waits in front of those held."""
        began, sent_at = self._clock.elapsed() - self._started, self._clock.now()
        for entry in call:
            if not entry.tries:
                entry.sent_at, entry.first_try = sent_at, began
            entry.tries += 1
        try:
            answer = put_records(self._kinesis, self._stream, call)
        except LaneError:
            self._held.put_back(call)
            raise
        self._answered_at = now = self._clock.elapsed() - self._started
        failed = [call[place] for place in answer.failed]
        for entry, code in zip(failed, answer.failed.values(), strict=True):
            entry.refused_with = code
            entry.unanswered += code == NO_ANSWER
        self._held.hold_back(call, failed, now)
        self._account(call, answer, now, seconds=now - began)
        self._check_budget(failed, now)

    def _account(self, call: list[Entry], answer: Answer, now: float, *, seconds: float) -> None:
        """Write down where records stand, and note the call."""
        at = self._clock.now()
        shards: Counter[str] = Counter()
        sizes: dict[str, list[int]] = defaultdict(list)
        dues: list[float] = []
        for place, (shard_id, sequence_number) in answer.placed.items():
            entry = call[place]
            self._ledger.acknowledge(entry, shard_id, sequence_number, at)
            shards[shard_id] += len(entry.positions)
            sizes[shard_id].append(len(entry.data))
            if self._paced:
                dues += entry.dues
        refused: Counter[str] = Counter()
        for place, code in answer.failed.items():
            refused[code] += len(call[place].positions)
        with self._lock:
            self._measures.note_call(
                now,
                seconds=seconds,
                acknowledged=shards.total(),
                refused=refused,
                bytes_acknowledged=sum(map(sum, sizes.values())),
                records=len(answer.placed),
                record_delay=now - np.array(dues),
                shards=shards,
                unanswered=NO_ANSWER in refused,
                record_sizes=sizes,
            )
        if not shards.keys() <= set(self._shards.shard_ids):
            self._shards.refresh()

    def _check_budget(self, failed: list[Entry], now: float) -> None:
        budget = self._settings.retry_for_s
        overdue = [entry for entry in failed if now - entry.first_try >= budget]
        if overdue:
            codes = {str(entry.refused_with) for entry in overdue}
            raise LaneError(
                expected=f"every record acknowledged by stream {self._stream!r} within {budget:g} s of its first call",
                found=f"{len(overdue)} records still failing with {', '.join(sorted(codes))}",
                do="Lower the rate or give the stream more shards, then send the rest.",
            )

    def _give_up(self) -> None:
        """Account for what is still held: nothing, unless delivery failed."""
        given_up: Counter[str] = Counter()
        for entry in self._held:
            self._ledger.give_up(entry)
            if entry.refused_with is not None:
                given_up[entry.refused_with] += len(entry.positions)
        self._measures.note_given_up(given_up)
