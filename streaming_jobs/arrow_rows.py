"""Rows and columns of Arrow data, without a copy where none is needed: most batches are all of one kind, in one piece.

Arrow's own `filter`, `combine_chunks` and `concat_batches` copy always.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

Rows = TypeVar("Rows", pa.Table, pa.RecordBatch, pa.Array)


def where(rows: Rows, mask: pa.Array | pa.ChunkedArray) -> Rows:
    """Return the rows for which the mask is true, in order."""
    if pc.all(mask, skip_nulls=False).as_py():
        return rows
    return rows.filter(mask) if pc.any(mask).as_py() else rows.slice(0, 0)


def split_where(table: pa.Table, test: Callable[[pa.RecordBatch], pa.Array]) -> tuple[pa.Table, pa.Table]:
    """Return the rows for which `test` is true, and the others; pieces of which all rows are alike are not copied."""
    batches = [(batch, test(batch)) for batch in table.to_batches()]
    chosen = [where(batch, mask) for batch, mask in batches]
    others = [where(batch, pc.invert(mask)) for batch, mask in batches]
    return pa.Table.from_batches(chosen, table.schema), pa.Table.from_batches(others, table.schema)


def whole(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def one_batch(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """Return the rows of all batches, of which there is one at least, as one batch."""
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def together(tables: Sequence[pa.Table]) -> pa.Table:
    """Return the rows of all tables, of which there is one at least, one after the other."""
    return pa.concat_tables([table for table in tables if table.num_rows] or tables[:1])
