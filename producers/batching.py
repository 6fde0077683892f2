"""Cuts a flow of records into PutRecords batches that Kinesis accepts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from producers.errors import ProducerError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from producers.records import Record

MAX_BATCH_RECORDS: Final = 500
MAX_BATCH_BYTES: Final = 5 * 1024 * 1024
MAX_RECORD_BYTES: Final = 1024 * 1024


def record_bytes(record: Record) -> int:
    """Return what Kinesis counts: payload and partition key."""
    return len(record.payload) + len(record.partition_key.encode())


class Batcher:
    """Takes records from an iterable in batches within every limit, each record exactly once and in order."""

    def __init__(self, records: Iterable[Record]) -> None:
        """Start at the first record; nothing is read yet."""
        self._records = iter(records)
        self._held: Record | None = None
        self._taken = 0

    def take(self, most: int) -> list[Record]:
        """Return the next batch of at most `most` records; empty at the end.

        Raises:
            ProducerError: A record is larger than a shard takes. The records before it have been returned already.
        """
        batch: list[Record] = []
        size = 0
        while len(batch) < min(most, MAX_BATCH_RECORDS):
            record = self._held if self._held is not None else next(self._records, None)
            self._held = None
            if record is None:
                break
            weight = record_bytes(record)
            if batch and (size + weight > MAX_BATCH_BYTES or weight > MAX_RECORD_BYTES):
                self._held = record
                break
            if weight > MAX_RECORD_BYTES:
                raise ProducerError(
                    expected=f"records of at most {MAX_RECORD_BYTES} bytes, partition key included",
                    found=f"{weight} bytes in record {self._taken + 1}",
                    do="Leave that record out; no shard takes it.",
                )
            batch.append(record)
            size += weight
            self._taken += 1
        return batch
