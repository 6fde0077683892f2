"""Records in, judged events out: `streaming_jobs.judging` on an Arrow batch at a time. No I/O.

Every event of a record comes out exactly once, as a listen (`reject_reason` null) or as a reject with its reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakehouse.events import BETWEEN_EVENTS_PATTERN, FIELDS, MAX_CLOCK_SKEW, POLICY_REASONS
from lakehouse.tables import PROCESSED_LISTENS
from streaming_jobs.arrow_rows import one_batch, together, where, whole
from streaming_jobs.judging import Reject, judge
from streaming_jobs.plain_events import judge_plain
from streaming_jobs.timeliness import TAKE_ALL, Timeliness

BYTES_AT_ONCE: Final = 8 * 1024 * 1024
"""About as many bytes of records are taken apart and judged at once; bounds memory, and keeps the answers small."""

_POSITION: Final = {
    "stream": "streamName",
    "shard_id": "shardId",
    "sequence_number": "sequenceNumber",
    "arrived_at": "approximateArrivalTimestamp",
}
_TOLD: Final = ("reject_reason", "reject_message", "event_id")
"""What a `Reject` tells, in order."""
PARSED_DDL: Final = (
    f"{PROCESSED_LISTENS.ddl},\ndata BINARY,\npayload_bytes BIGINT,\nreject_reason STRING,\nreject_message STRING"
    ",\ntimeliness STRING"
)
_ARROW: Final = {
    "STRING": pa.string(),
    "BIGINT": pa.int64(),
    "INT": pa.int32(),
    "BINARY": pa.binary(),
    "TIMESTAMP": pa.timestamp("us", tz="UTC"),
    "MAP<STRING, STRING>": pa.map_(pa.string(), pa.string()),
}
PARSED: Final = pa.schema(
    [(name, _ARROW[kind]) for name, kind in (column.split(maxsplit=1) for column in PARSED_DDL.split(",\n"))]
)
"""Columns of judged events as Arrow has them."""


def placed(records: DataFrame) -> DataFrame:
    """Return what `parse_batches` needs of the Kinesis source's columns. One row per record."""
    return records.select("data", *[F.col(source).alias(ours) for ours, source in _POSITION.items()])


def parse_batches(batches: Iterable[pa.RecordBatch], timeliness: Timeliness = TAKE_ALL) -> Iterator[pa.RecordBatch]:
    """Decode and judge stream records.

    Args:
        batches: Columns of `placed`, one row per record.
        timeliness: Which events are late or future ones, and whether they are rejected; by default, none is.

    Yields:
        One row per event, columns of `PARSED`: those of `PROCESSED_LISTENS`; `payload_bytes`, the event's size;
        `reject_reason`, `reject_message` and `data`, the event's own bytes, all three null for a listen; `timeliness`,
        which is `late_event`, `future_event` or null, whether the event is rejected for it or not.
    """
    for some in _gathered(part for batch in batches for part in _in_parts(batch)):
        yield from judge_events(_split(some), timeliness).to_batches()


def judge_events(events: pa.Table, timeliness: Timeliness = TAKE_ALL) -> pa.Table:
    """Judge events, whatever they came in.

    Args:
        events: One row per event: `data`, its own bytes; `payload_bytes`, their number; and where and when it came:
            `stream`, `shard_id`, `sequence_number`, `line`, `arrived_at`.
        timeliness: Which events are late or future ones, and whether they are rejected; by default, none is.

    Returns:
        One row per event, columns of `PARSED`.
    """
    plain = judge_plain(whole(events["data"]), whole(events["arrived_at"]))
    judged = [_listens(events, plain.is_listen, _named(where(plain.fields, plain.is_listen)), timeliness)]
    if len(plain.rejects):
        judged.append(_rejects(events.filter(plain.is_reject), _named(plain.rejects)))
    others = where(events, pc.invert(pc.or_(plain.is_listen, plain.is_reject)))
    return together([*judged, *_judged_one_by_one(others, timeliness)])


def reject_events(events: pa.Table, *, reasons: list[str], messages: list[str]) -> pa.Table:
    """Set aside what its reader found to be no event, one reason and message each. As `judge_events`."""
    return _rejects(events, {"reject_reason": reasons, "reject_message": messages})


def _in_parts(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    sizes = pc.cumulative_sum(pc.binary_length(batch["data"]).cast(pa.int64()))
    part_of = pc.divide(sizes, BYTES_AT_ONCE)
    begin = 0
    for count in pc.value_counts(part_of).field("counts").to_pylist():
        yield batch.slice(begin, count)
        begin += count


def _gathered(parts: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Put small parts together: to judge some events takes milliseconds, however few they are."""
    waiting: list[pa.RecordBatch] = []
    size = 0
    for part in parts:
        if waiting and size + part.nbytes > BYTES_AT_ONCE:
            yield one_batch(waiting)
            waiting, size = [], 0
        waiting.append(part)
        size += part.nbytes
    if waiting:
        yield one_batch(waiting)


def _split(records: pa.RecordBatch) -> pa.Table:
    """One row per event: its `data`, its `line` and `payload_bytes`, and where and when its record arrived."""
    data = records["data"]
    is_lines = pc.match_substring_regex(data, BETWEEN_EVENTS_PATTERN)
    singles = pa.Table.from_batches([where(records, pc.invert(is_lines))])
    events = singles.append_column("line", pa.repeat(pa.scalar(1, pa.int32()), singles.num_rows))
    many = where(records, is_lines)
    if many.num_rows:
        events = together([events, _of_lines(many).select(events.column_names)])
    return events.append_column("payload_bytes", pc.binary_length(events["data"]).cast(pa.int64()))


def _of_lines(records: pa.RecordBatch) -> pa.Table:
    """The events of records that are JSON lines, with the line of each; as `lakehouse.events.split_events`."""
    lines = pc.split_pattern(records["data"], b"\n")
    data, whence = lines.flatten(), pc.list_parent_indices(lines)
    count = pc.cumulative_sum(pa.repeat(pa.scalar(1, pa.int32()), len(data)))
    number = pc.subtract(count, lines.offsets.take(whence))
    if pc.any(ends := pc.ends_with(data, b"\r")).as_py():
        data = pc.if_else(ends, pc.binary_slice(data, 0, -1), data)
    events = pa.Table.from_batches([records.drop_columns("data")]).take(whence)
    return where(events.append_column("data", data).append_column("line", number), pc.not_equal(data, b""))


def _judged_one_by_one(events: pa.Table, timeliness: Timeliness) -> Iterator[pa.Table]:
    # Records arrive by the millisecond, many in one: each moment is made once.
    arrivals = whole(events["arrived_at"]).dictionary_encode()
    latest = [moment + MAX_CLOCK_SKEW for moment in arrivals.dictionary.to_pylist()]
    told = zip(events["data"].to_pylist(), arrivals.indices.to_pylist(), strict=True)
    verdicts = [judge(data, latest[place]) for data, place in told]
    is_reject = pa.array([type(verdict) is Reject for verdict in verdicts], pa.bool_())
    if listens := [verdict for verdict in verdicts if type(verdict) is not Reject]:
        yield _listens(events, pc.invert(is_reject), _columns((*FIELDS, "extra"), listens), timeliness)
    if rejects := [verdict for verdict in verdicts if type(verdict) is Reject]:
        yield _rejects(where(events, is_reject), _columns(_TOLD, rejects))


def _named(table: pa.Table) -> dict[str, Any]:
    return dict(zip(table.column_names, table.columns, strict=True))


def _columns(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


def _rejects(events: pa.Table, told: Mapping[str, Any]) -> pa.Table:
    return _rows(events, {**told, "data": events["data"]})


def _listens(
    events: pa.Table, is_listen: pa.BooleanArray, found: Mapping[str, Any], timeliness: Timeliness
) -> pa.Table:
    """Rows of the events that are listens by the contract; some of them are rejected by the policy."""
    # Few events need their bytes from here on.
    listens = _rows(where(events.drop_columns("data"), is_listen), found)
    code = timeliness.judge(listens["listen_time"], listens["arrived_at"])
    told: dict[str, Any] = {"timeliness": code}
    is_rejected = pc.is_in(code, pa.array(timeliness.rejected, pa.string()))
    if pc.any(is_rejected).as_py():
        reason = pc.if_else(is_rejected, code, None)
        message = pc.case_when(
            pc.make_struct(*(pc.equal(reason, one) for one in POLICY_REASONS)), *POLICY_REASONS.values()
        )
        payload = pc.if_else(is_rejected, events["data"].filter(is_listen), None)
        told |= {"reject_reason": reason, "reject_message": message, "data": payload}
    for name, column in told.items():
        listens = listens.set_column(PARSED.get_field_index(name), PARSED.field(name), column)
    return listens


def _rows(events: pa.Table, found: Mapping[str, Any]) -> pa.Table:
    """Rows of `PARSED`: what was found in the events and where they come from, null for all else."""
    known = {name: events[name] for name in (*_POSITION, "line", "payload_bytes")} | dict(found)
    columns = [
        _column(known[field.name], field.type) if field.name in known else pa.nulls(len(events), field.type)
        for field in PARSED
    ]
    return pa.table(columns, schema=PARSED)


def _column(values: Any, kind: pa.DataType) -> Any:
    return pa.array(values, kind) if isinstance(values, list) else values
