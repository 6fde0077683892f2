"""Sums of a run, and what its records are billed as."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

THROTTLING_CODES: Final = frozenset(
    {
        "KMSThrottlingException",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "ThrottlingException",
    }
)
KB: Final = 1024
UNIT_BYTES: Final = 25 * KB
"""A PUT payload unit."""


@dataclass
class Totals:
    """Sums of a run.

    Attributes:
        acknowledged: Events acknowledged.
        refused: Events of failed tries, by error code.
        given_up: Of these, events that were not tried again, by the last error code.
        unanswered: Calls that got no answer.
        calls: PutRecords calls.
        records: Kinesis records acknowledged.
        bytes: Their bytes.
        billed_kb: Their sizes, each rounded up to 1 KB.
        payload_units: Their sizes in begun units of 25 KB.
        shards: Events acknowledged per shard.
        shard_records: Records acknowledged per shard, where record sizes were told.
        shard_bytes: Bytes acknowledged per shard, where record sizes were told.
    """

    acknowledged: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    given_up: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0
    calls: int = 0
    records: int = 0
    bytes: int = 0
    billed_kb: int = 0
    payload_units: int = 0
    shards: Counter[str] = field(default_factory=Counter)
    shard_records: Counter[str] = field(default_factory=Counter)
    shard_bytes: Counter[str] = field(default_factory=Counter)

    def add(self, other: Totals) -> None:
        """Add another's sums to these."""
        for name, value in vars(other).items():
            # A copy of a dict is made in one step: another thread may be counting.
            setattr(self, name, getattr(self, name) + (value.copy() if isinstance(value, Counter) else value))

    def add_sizes(self, records: int, size: int, record_sizes: Mapping[str, Sequence[int]] | None) -> None:
        """Add what records of one call are billed as; without their sizes the mean stands for each."""
        if record_sizes is None:
            if records:
                self.billed_kb += records * -(-size // (records * KB))
                self.payload_units += records * -(-size // (records * UNIT_BYTES))
            return
        for shard_id, sizes in record_sizes.items():
            self.shard_records[shard_id] += len(sizes)
            self.shard_bytes[shard_id] += sum(sizes)
            if max(sizes, default=0) <= KB:
                self.billed_kb += len(sizes)
                self.payload_units += len(sizes)
            else:
                self.billed_kb += sum([-(-told // KB) for told in sizes])
                self.payload_units += sum([-(-told // UNIT_BYTES) for told in sizes])

    @property
    def retried(self) -> dict[str, int]:
        """Events sent again, by the error code of the failed try."""
        return dict(sorted((self.refused - self.given_up).items()))

    @property
    def throttled(self) -> int:
        """Events refused because a limit was reached."""
        return sum(events for code, events in self.refused.items() if code in THROTTLING_CODES)
