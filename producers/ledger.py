"""The account of a delivery: per event, where it stands in the stream or that nobody knows.

Lanes append to an Arrow stream on disk as answers come, so that memory stays flat and a killed producer leaves what
it knew. One row on disk is one Kinesis record; `read_ledger` gives one row per event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from producers.packing import Entry

RECORDS: Final = pa.schema(
    [
        ("positions", pa.list_(pa.int64())),
        ("shard_id", pa.string()),
        ("sequence_number", pa.string()),
        ("sent_at", pa.float64()),
        ("acknowledged_at", pa.float64()),
        ("tries", pa.int32()),
        ("unanswered", pa.int32()),
    ]
)
LEDGER: Final = pa.schema(
    [
        ("position", pa.int64()),
        ("shard_id", pa.string()),
        ("sequence_number", pa.string()),
        ("line", pa.int32()),
        ("sent_at", pa.float64()),
        ("acknowledged_at", pa.float64()),
        ("tries", pa.int32()),
        ("unanswered", pa.int32()),
    ]
)
"""One row per event taken up, by position; shard, sequence number and time are null where it is not acknowledged.

`sent_at` is the time of the first call, `acknowledged_at` that of the answer, both in epoch seconds. `unanswered` calls
got no answer: each may have put the record once more.
"""
FLUSH_ROWS: Final = 10_000


class LedgerWriter:
    """Writes the account of one lane; a context manager."""

    def __init__(self, path: Path) -> None:
        """Open the file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._sink = pa.OSFile(str(path), "wb")
        self._stream = pa.ipc.new_stream(self._sink, RECORDS)
        self._rows: list[tuple[object, ...]] = []

    def acknowledge(self, entry: Entry, shard_id: str, sequence_number: str, at: float) -> None:
        """Note that a record stands in the stream since `at`, in epoch seconds."""
        self._rows.append(
            (entry.positions, shard_id, sequence_number, entry.sent_at, at, entry.tries, entry.unanswered)
        )
        if len(self._rows) >= FLUSH_ROWS:
            self.flush()

    def give_up(self, entry: Entry) -> None:
        """Note that a record was taken up and is not acknowledged."""
        self._rows.append((entry.positions, None, None, entry.sent_at, None, entry.tries, entry.unanswered))

    def flush(self) -> None:
        """Put what is noted on disk."""
        if self._rows:
            columns = zip(*self._rows, strict=True)
            arrays = [pa.array(column, item.type) for column, item in zip(columns, RECORDS, strict=True)]
            self._stream.write_batch(pa.record_batch(arrays, schema=RECORDS))
            self._rows.clear()

    def __enter__(self) -> LedgerWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()
        self._stream.close()
        self._sink.close()


def read_ledger(paths: Iterable[Path]) -> pa.Table:
    """Return the events of these files by `LEDGER`, in order of position. A file cut off by a crash ends there."""
    batches = [batch for path in paths for batch in _read_batches(path)]
    records = pa.Table.from_batches(batches, schema=RECORDS).combine_chunks()
    if not records:
        return LEDGER.empty_table()
    positions = records["positions"].combine_chunks()
    sizes = pc.list_value_length(positions).to_numpy()
    record = np.repeat(np.arange(len(sizes)), sizes)
    line = np.arange(len(record)) - np.repeat(np.cumsum(sizes) - sizes, sizes) + 1
    table = records.drop_columns(["positions"]).take(pa.array(record))
    table = table.append_column("position", pc.list_flatten(positions)).append_column(
        "line", pa.array(line, pa.int32())
    )
    return table.select(LEDGER.names).sort_by("position").cast(LEDGER)


def _read_batches(path: Path) -> list[pa.RecordBatch]:
    batches: list[pa.RecordBatch] = []
    with pa.OSFile(str(path), "rb") as source:
        try:
            for batch in pa.ipc.open_stream(source):
                batches.append(batch)  # noqa: PERF402 - what was read before a torn end is kept
        except (pa.ArrowInvalid, OSError):
            # The producer was killed while it wrote: the batch is not whole, so nobody was told of it.
            return batches
    return batches
