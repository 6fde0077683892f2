"""Rows by a mask and columns in one piece: the same as Arrow's, and no copy where nothing changes."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from streaming_jobs.arrow_rows import one_batch, split_where, together, where, whole

TABLE = pa.table({"data": [b"a", b"b", None], "line": [1, 2, 3]})


@pytest.mark.parametrize("mask", [[True, False, True], [False] * 3, [True] * 3, [True, None, True]])
def test_rows_by_a_mask_are_those_of_arrow(mask: list[bool | None]) -> None:
    chosen = pa.array(mask, pa.bool_())
    assert where(TABLE, chosen) == TABLE.filter(chosen)
    column = TABLE["data"].combine_chunks()
    assert where(column, chosen) == column.filter(chosen)


def test_nothing_is_copied_where_all_stays() -> None:
    column = TABLE["data"]
    assert where(TABLE, pa.array([True] * 3)) is TABLE
    assert whole(column).buffers()[2].address == column.chunk(0).buffers()[2].address
    [batch] = TABLE.to_batches()
    assert one_batch([batch]) is batch
    beside = together([TABLE.slice(0, 0), TABLE])
    assert whole(beside["data"]).buffers()[2].address == column.chunk(0).buffers()[2].address


def test_rows_are_split_in_order_and_pieces_of_one_kind_are_not_copied() -> None:
    def is_odd(batch: pa.RecordBatch) -> pa.BooleanArray:
        return pc.equal(pc.bit_wise_and(batch["line"], 1), 1)

    pure = pa.concat_tables([TABLE.slice(0, 1), TABLE.slice(1, 1)])
    odd, even = split_where(pa.concat_tables([pure, TABLE]), is_odd)
    assert odd["line"].to_pylist() == [1, 1, 3]
    assert even["line"].to_pylist() == [2, 2]
    assert odd.schema == even.schema == TABLE.schema
    assert odd["data"].chunk(0).buffers()[2].address == TABLE["data"].chunk(0).buffers()[2].address
    assert split_where(TABLE.slice(0, 0), is_odd) == (TABLE.slice(0, 0), TABLE.slice(0, 0))


def test_pieces_are_put_together_in_order() -> None:
    pieces = [TABLE.slice(0, 1), TABLE.slice(1, 0), TABLE.slice(1)]
    assert together(pieces) == TABLE
    assert whole(together(pieces)["line"]) == whole(TABLE["line"])
    assert together([TABLE.slice(0, 0), TABLE.slice(1, 0)]) == TABLE.slice(0, 0)
    assert one_batch([batch for piece in pieces for batch in piece.to_batches()]) == TABLE.to_batches()[0]
    assert whole(pa.chunked_array([], pa.binary())) == pa.array([], pa.binary())
