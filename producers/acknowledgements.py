"""The account of a delivery: per record, where it stands in the stream or that nobody knows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class DeliveryReport:
    """What became of the records taken up, in order; records never taken up are not in it.

    Attributes:
        shard_ids: Shard per record; None where it is not acknowledged.
        sequence_numbers: Position in the shard; None where it is not acknowledged.
        sent_at: Epoch seconds of the record's first call.
        retried: Entries sent again, by the error code of the failed try.
        seconds: From the first batch to the last answer.
        longest_lag_s: How far delivery was behind the asked rate at worst.
        stopped: It was told to stop.
    """

    shard_ids: list[str | None] = field(default_factory=list)
    sequence_numbers: list[str | None] = field(default_factory=list)
    sent_at: list[float] = field(default_factory=list)
    retried: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    longest_lag_s: float = 0.0
    stopped: bool = False
    acknowledged: int = 0

    @property
    def sent(self) -> int:
        """Records taken up."""
        return len(self.shard_ids)

    @property
    def failed(self) -> int:
        """Records taken up and not acknowledged."""
        return self.sent - self.acknowledged

    def summary(self) -> dict[str, Any]:
        """Return the figures without the columns."""
        return {
            "sent": self.sent,
            "acknowledged": self.acknowledged,
            "not_acknowledged": self.failed,
            "retried": dict(sorted(self.retried.items())),
            "seconds": round(self.seconds, 3),
            "events_per_second": round(self.acknowledged / self.seconds, 1) if self.seconds > 0 else 0.0,
            "longest_lag_s": round(self.longest_lag_s, 3),
            "stopped": self.stopped,
        }
