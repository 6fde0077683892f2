"""What a verification found, in numbers, in one sentence, and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Milliseconds; None when there was nothing to measure."""

    p50: float | None
    p95: float | None
    p99: float | None
    max: float | None


@dataclass(frozen=True, kw_only=True)
class ShardFigures:
    """One shard: acknowledged events, how many of them were seen, and how late."""

    shard_id: str
    expected: int
    seen: int
    missing: int
    p50_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, kw_only=True)
class MinuteFigures:
    """One minute of sending.

    Attributes:
        minute: Its begin, as UTC in ISO 8601.
        acknowledged: Events by the ledger.
        seen: Of these, events that were seen.
        equal: Whether the numbers and the sums of the id hashes are the same on both sides.
    """

    minute: str
    acknowledged: int
    seen: int
    equal: bool


@dataclass(frozen=True, kw_only=True)
class SecondFigures:
    """Put-to-consumer latency of the events sent in one second, counted from the first event."""

    second: int
    events: int
    p50_ms: float
    p95_ms: float


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The comparison of a ledger with what was seen.

    Attributes:
        expected: Acknowledged events.
        seen: Of these, events seen at the very position that was acknowledged.
        altered: Seen, but with another event id than was sent.
        missing_sample: The first few that are missing, for people.
        duplicates_injected: Acknowledged events beyond the first with the same id.
        duplicates_found: The same, counted among events seen, and further copies that nothing explains.
        sent_twice: Copies that the stream kept although their call got no answer, so that they were sent again.
        unacknowledged: Events seen that were sent, but never acknowledged.
        other: Events seen that the ledger knows nothing of.
        redelivered: Sightings beyond the first of the same position: the client delivers at least once.
        out_of_order: Events seen before one of the same user and shard that was sent earlier.
        out_of_order_resent: The same, where one of the two was sent again: PutRecords may take a call in part.
        restarts: Daemons that died and were started again.
        latency_ms: From the put to the first sighting, by the stream's clock.
        sent_to_seen_ms: From sending to the first sighting, by the producer's clock.
        shards: By shard.
        minutes: By minute of sending.
        series: By second of sending.
    """

    expected: int
    seen: int
    altered: int
    missing_sample: tuple[str, ...]
    duplicates_injected: int
    duplicates_found: int
    sent_twice: int
    unacknowledged: int
    other: int
    redelivered: int
    out_of_order: int
    out_of_order_resent: int
    restarts: int
    latency_ms: Latency
    sent_to_seen_ms: Latency
    shards: tuple[ShardFigures, ...]
    minutes: tuple[MinuteFigures, ...]
    series: tuple[SecondFigures, ...]

    @property
    def missing(self) -> int:
        """Acknowledged events not seen."""
        return self.expected - self.seen

    @property
    def is_complete(self) -> bool:
        """Tell whether every acknowledged event was seen, and there was one."""
        return self.expected > 0 and self.missing == 0

    @property
    def is_good(self) -> bool:
        """Tell whether nothing is lost, altered, multiplied or out of order."""
        return (
            self.is_complete
            and self.altered == 0
            and self.duplicates_found == self.duplicates_injected
            and self.out_of_order == 0
            and all(minute.equal for minute in self.minutes)
        )

    def verdict(self) -> str:
        """Return the one sentence."""
        if self.expected == 0:
            return "nothing to verify: the ledger has no acknowledged event"
        head = "complete" if self.is_complete else "incomplete"
        told = [f"{head}: {self.seen:,} of {self.expected:,} acknowledged events seen"]
        more = self.duplicates_found - self.duplicates_injected
        if more == 0:
            told.append("duplicates as injected")
        else:
            told.append(f"{_times(abs(more), 'duplicate')} {'more' if more > 0 else 'fewer'} than injected")
        if self.altered:
            told.append(f"{self.altered:,} with another id than was sent")
        if self.out_of_order:
            told.append(f"{_times(self.out_of_order, 'event')} out of order within a key")
        if unequal := [minute.minute for minute in self.minutes if not minute.equal]:
            told.append(f"counts or ids differ in {_times(len(unequal), 'minute')} ({', '.join(unequal[:3])})")
        return ", ".join(told)

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        values = asdict(self)
        return {"verdict": self.verdict(), "good": self.is_good, "complete": self.is_complete} | {
            **{name: list(value) if isinstance(value, tuple) else value for name, value in values.items()},
            "missing": self.missing,
        }


def _times(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
