"""One lane of an open-loop delivery: events go out when they are due, whether or not the system keeps up.

Only the failed records of a call are sent again. While they wait, newer events of the same slot of keys wait behind
them; a shard that refused everything rests altogether. The rest goes on, so that one throttled shard does not slow the
others, and the order of a key holds from call to call. Nothing acknowledged goes unsaid, nothing unacknowledged is
claimed. A call whose answer got lost may have arrived: its records are sent again, so a record may stand in the stream
twice under one acknowledgement.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from botocore.exceptions import ClientError, ConnectionError, HTTPClientError  # noqa: A004

from producers.errors import LaneError, ProducerError
from producers.packing import MAX_CALL_BYTES, MAX_CALL_RECORDS, Entry, Packer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from mypy_boto3_kinesis import KinesisClient

    from producers.ledger import LedgerWriter
    from producers.records import Chunk
    from producers.report.measures import Measures, Snapshot
    from producers.slots import HashSlots, ShardMap

RETRIED_CODES: Final = frozenset(
    {
        "InternalFailure",
        "InternalServerError",
        "KMSThrottlingException",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "ServiceUnavailable",
        "ThrottlingException",
    }
)
NO_ANSWER: Final = "no answer"
LONGEST_PAUSE_S: Final = 0.2
"""Waiting for the next event is cut to this length, so that a stop is heeded at once."""
MOST_HELD: Final = 2_000
"""Records that a lane holds while they wait for their shard; beyond that it takes up nothing new."""

MOST_AGGREGATED: Final = 100_000
"""Events that a lane takes up at once when many share a record."""


@dataclass(frozen=True, kw_only=True)
class DeliverySettings:
    """How events are sent.

    Attributes:
        workers: Processes that make and send.
        concurrency: Calls in flight at once, per process; with two, one is prepared while the other is on its way.
        duration_s: Seconds after which nothing new is taken up; None means until all is sent.
        linger_s: How long events gather before a call that is not full goes out.
        aggregate_bytes: Size up to which events share a record as JSON lines; 0 gives each a record of its own.
        retry_for_s: How long one record is tried again before delivery gives up.
        first_backoff_s: Upper bound of the first pause; it doubles with each try. The pause is drawn below it.
        longest_backoff_s: Where the doubling ends.
    """

    workers: int = 1
    concurrency: int = 2
    duration_s: float | None = None
    linger_s: float = 0.05
    aggregate_bytes: int = 0
    retry_for_s: float = 60.0
    first_backoff_s: float = 0.1
    longest_backoff_s: float = 5.0

    def __post_init__(self) -> None:
        """Refuse what can't be meant."""
        if self.workers < 1 or self.concurrency < 1 or self.aggregate_bytes < 0 or self.retry_for_s < 0:
            raise ProducerError(
                expected="at least one worker and one call at a time, and no negative sizes or times",
                found=str(self),
                do="Correct the settings.",
            )


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Time as handed in: `now` in epoch seconds, `elapsed` monotonic, `sleep` in seconds."""

    now: Callable[[], float] = time.time
    elapsed: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


class Due(NamedTuple):
    """Successive events of the lane with the time at which each is due, in seconds from the start; ascending."""

    chunk: Chunk
    seconds: list[float]


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
        self._paced = paced
        self._kinesis, self._stream, self._settings = kinesis, stream, settings
        self._slots, self._shards = slots, shards
        self._packer = Packer(slots, settings.aggregate_bytes)
        # Aggregated, a call is full by its bytes.
        self._most_events = MOST_AGGREGATED if settings.aggregate_bytes else MAX_CALL_RECORDS
        self._ledger, self._measures = ledger, measures
        self._rng, self._clock, self._started, self._stop = rng, clock, started, stop
        self._feed: Iterator[Due] = iter(())
        self._next: Due | None = None
        self._at = 0
        self._over = False
        self._held: list[Entry] = []
        self._resting: dict[str, float] = {}
        self._taken = 0
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
        return self._taken - self._measures.totals.acknowledged

    def note_standing(self, now: float, *, backlog: float, memory_mb: float) -> None:
        """Note how many events wait and what the process holds in memory, `now` seconds from the start."""
        with self._lock:
            self._measures.note_backlog(now, backlog)
            self._measures.note_memory(now, memory_mb)

    def lag(self, now: float) -> float:
        """Return how far the lane is behind its events, in seconds: the oldest one due and not acknowledged."""
        following = self._next
        oldest = [entry.dues[0] for entry in self._held[:1]]
        if following is not None and self._at < len(following.seconds):
            oldest.append(following.seconds[self._at])
        return max(0.0, now - min(oldest)) if oldest else 0.0

    def run(self, feed: Iterator[Due]) -> None:
        """Send what `feed` gives until it ends, the duration ends or `stop` is set; what was taken up is finished.

        Raises:
            LaneError: The stream is missing or refuses, an event is too large, or a record failed for too long.
        """
        self._feed = feed
        self._advance()
        try:
            while True:
                now = self._clock.elapsed() - self._started
                taking = self._next is not None and not self._over and not self._stop.is_set()
                if taking and len(self._held) < MOST_HELD:
                    taking = self._take(now)
                call = self._choose(now)
                if call:
                    self._put(call)
                elif not taking and not self._held:
                    return
                else:
                    self._clock.sleep(self._pause(now, taking=taking))
        finally:
            self._give_up()

    def _give_up(self) -> None:
        """Account for what is still held: nothing, unless delivery failed."""
        given_up: Counter[str] = Counter()
        for entry in self._held:
            self._ledger.give_up(entry)
            if entry.refused_with is not None:
                given_up[entry.refused_with] += len(entry.positions)
        self._measures.note_given_up(given_up)

    def _advance(self) -> None:
        self._next, self._at = next(self._feed, None), 0

    def _take(self, now: float) -> bool:
        """Take up what has gathered; return False when nothing more will be taken up."""
        duration = self._settings.duration_s
        self._over = duration is not None and now >= duration
        until = now if duration is None else min(now, duration)
        if not self._over and not self._has_gathered(until):
            return True
        positions: list[int] = []
        payloads: list[bytes] = []
        keys: list[str] = []
        dues: list[float] = []
        room = MAX_CALL_BYTES
        while self._next is not None and room > 0 and len(positions) < self._most_events:
            chunk, seconds = self._next
            end = min(bisect_right(seconds, until, self._at), self._at + self._most_events - len(positions))
            if end == self._at:
                break
            window = slice(self._at, end)
            positions += chunk.positions[window]
            payloads += chunk.payloads[window]
            keys += chunk.keys[window]
            dues += seconds[window]
            room -= sum(map(len, chunk.payloads[window]))
            self._at = end
            if end == len(seconds):
                self._advance()
        self._taken += len(positions)
        self._pack(positions, payloads, keys, dues)
        return self._next is not None and not self._over

    def _has_gathered(self, until: float) -> bool:
        """Tell whether the first event not taken up has lingered, or a full call is due."""
        return self._next is not None and self._gathered_at(self._next.seconds) <= until

    def _gathered_at(self, dues: list[float]) -> float:
        """Return when the first event not taken up has lingered or a full call is due, in seconds from the start."""
        full = self._at + self._most_events - 1
        lingered = dues[self._at] + self._settings.linger_s
        return min(lingered, dues[full]) if full < len(dues) else lingered

    def _pack(self, positions: list[int], payloads: list[bytes], keys: list[str], dues: list[float]) -> None:
        try:
            self._held += self._packer.pack(positions, payloads, keys, dues)
        except ProducerError as error:
            raise LaneError(expected=error.expected, found=error.found, do=error.do) from error

    def _choose(self, now: float) -> list[Entry]:
        """Take the records of the next call out of those held, in order; a slot that waits keeps all of its own."""
        resting = {shard for shard, until in self._resting.items() if until > now}
        call: list[Entry] = []
        size, kept = 0, []
        waiting: set[int] = set()
        for place, entry in enumerate(self._held):
            if len(call) == MAX_CALL_RECORDS or size + entry.weight > MAX_CALL_BYTES:
                kept += self._held[place:]
                break
            if entry.slot in waiting or entry.not_before > now or self._shard_of(entry) in resting:
                waiting.add(entry.slot)
                kept.append(entry)
            else:
                call.append(entry)
                size += entry.weight
        self._held = kept
        return call

    def _pause(self, now: float, *, taking: bool) -> float:
        """Return how long there is nothing to do, in seconds."""
        # Those without a time of their own wait behind one that has, or for their shard.
        times = [*(entry.not_before for entry in self._held), *self._resting.values()] if self._held else []
        until = min((moment for moment in times if moment > now), default=now + LONGEST_PAUSE_S)
        if taking and self._next is not None and len(self._held) < MOST_HELD:
            gathered = self._gathered_at(self._next.seconds)
            if self._settings.duration_s is not None:
                gathered = min(gathered, self._settings.duration_s)
            until = min(until, gathered)
        return min(max(until - now, 0.0), LONGEST_PAUSE_S)

    def _put(self, call: list[Entry]) -> None:
        """Make one call; what fails goes back to the front of those held."""
        began, sent_at = self._clock.elapsed() - self._started, self._clock.now()
        for entry in call:
            if not entry.tries:
                entry.sent_at, entry.first_try = sent_at, began
            entry.tries += 1
        codes, placed = self._call(call)
        now, at = self._clock.elapsed() - self._started, self._clock.now()
        self._answered_at = now
        failed: list[Entry] = []
        refused: dict[str, int] = {}
        shards: dict[str, int] = {}
        sizes: dict[str, list[int]] = defaultdict(list)
        delays: list[float] = []
        for place, entry in enumerate(call):
            code = codes.get(place)
            if code is None:
                shard_id, sequence_number = placed[place]
                self._ledger.acknowledge(entry, shard_id, sequence_number, at)
                shards[shard_id] = shards.get(shard_id, 0) + len(entry.positions)
                delays += [now - due for due in entry.dues]
                sizes[shard_id].append(len(entry.data))
            else:
                refused[code] = refused.get(code, 0) + len(entry.positions)
                entry.refused_with = code
                entry.unanswered += code == NO_ANSWER
                failed.append(entry)
        self._hold(call, failed, now)
        with self._lock:
            self._measures.note_call(
                now,
                seconds=now - began,
                acknowledged=len(delays),
                refused=refused,
                bytes_acknowledged=sum(map(sum, sizes.values())),
                records=len(placed),
                record_delay=delays if self._paced else (),
                shards=shards,
                unanswered=NO_ANSWER in refused,
                record_sizes=sizes,
            )
        if not shards.keys() <= set(self._shards.shard_ids):
            self._shards.refresh()
        self._check_budget(failed, refused, now)

    def _hold(self, call: list[Entry], failed: list[Entry], now: float) -> None:
        """Put failed records in front of those held.

        A shard that refused all of its records rests; otherwise only what was refused waits, and the slot behind it.
        """
        tried = Counter(self._shard_of(entry) for entry in call)
        refused = Counter(self._shard_of(entry) for entry in failed)
        slots: dict[int, float] = {}
        for entry in failed:
            shard = self._shard_of(entry)
            if refused[shard] < tried[shard]:
                if entry.slot not in slots:
                    slots[entry.slot] = now + self._draw_backoff(entry)
                entry.not_before = slots[entry.slot]
            elif self._resting.get(shard, 0.0) <= now:
                self._resting[shard] = now + self._draw_backoff(entry)
        self._held = failed + self._held

    def _draw_backoff(self, entry: Entry) -> float:
        doubled = self._settings.first_backoff_s * 2 ** min(entry.tries - 1, 30)
        return float(self._rng.uniform(0.0, min(self._settings.longest_backoff_s, doubled)))

    def _shard_of(self, entry: Entry) -> str:
        return self._shards.shard_of(self._slots.middle(entry.slot))

    def _check_budget(self, failed: list[Entry], refused: dict[str, int], now: float) -> None:
        budget = self._settings.retry_for_s
        overdue = [entry for entry in failed if now - entry.first_try >= budget]
        if overdue:
            raise LaneError(
                expected=f"every record acknowledged by stream {self._stream!r} within {budget:g} s of its first call",
                found=f"{len(overdue)} records still failing with {', '.join(sorted(refused))}",
                do="Lower the rate or give the stream more shards, then send the rest.",
            )

    def _call(self, call: list[Entry]) -> tuple[dict[int, str], dict[int, tuple[str, str]]]:
        """Return the places that failed with their error codes, and shard and sequence number of the others."""
        entries = [
            {"Data": entry.data, "PartitionKey": entry.key}
            if entry.hash_key is None
            else {"Data": entry.data, "PartitionKey": entry.key, "ExplicitHashKey": entry.hash_key}
            for entry in call
        ]
        try:
            answer = self._kinesis.put_records(StreamName=self._stream, Records=entries)  # type: ignore[arg-type]
        except (ConnectionError, HTTPClientError):
            return dict.fromkeys(range(len(call)), NO_ANSWER), {}
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in RETRIED_CODES:
                return dict.fromkeys(range(len(call)), code), {}
            self._held = call + self._held
            raise self._refused(code) from error
        codes: dict[int, str] = {}
        placed: dict[int, tuple[str, str]] = {}
        for place, result in enumerate(answer["Records"]):
            if result.get("ErrorCode") or "SequenceNumber" not in result:
                codes[place] = result.get("ErrorCode", "unknown")
            else:
                placed[place] = (result["ShardId"], result["SequenceNumber"])
        return codes, placed

    def _refused(self, code: str) -> LaneError:
        if code == "ResourceNotFoundException":
            found, do = "no stream of that name", "Check the name, region and endpoint, or create the stream first."
        else:
            found, do = f"the refusal {code}", "Check credentials, permissions and the stream's encryption key."
        return LaneError(expected=f"the Kinesis stream {self._stream!r}", found=found, do=do)
