r"""The short way for the common event: bytes whose wording leaves nothing for `streaming_jobs.judging` to find.

A plain event is one flat object of known names only, in printable ASCII, each text without an escape, each number a
whole one of at most 18 digits, its texts within their limits, its time in UTC and a day of the calendar. Arrow then
reads all of them at once. Every other event, good or bad, is judged by itself; so this module never rejects anything.
Pure Python and Arrow, no Spark.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from lakehouse import events

_CHARACTER: Final = r"[ !#-\[\]-~]"
_DAY: Final = (
    "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    "|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)
_TIME: Final = rf"2[0-9]{{3}}-{_DAY}[T ](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:[.][0-9]{{1,6}})?Z?"
_NUMBER: Final = "(?:0|-?[1-9][0-9]{0,17})"
_VALUES: Final = {
    "track_id": f'"{_CHARACTER}{{1,{events.MAX_TRACK_ID_LENGTH}}}"',
    "event_id": f'"{_CHARACTER}{{1,{events.MAX_EVENT_ID_LENGTH}}}"',
    "listen_time": f'"{_TIME}"',
}
_OF_KIND: Final = {"STRING": f'"{_CHARACTER}*"', "BIGINT": _NUMBER}
_MEMBER: Final = "|".join(f'"{name}": ?{_VALUES.get(name, _OF_KIND[kind])}' for name, kind in events.FIELDS.items())
# The engine (RE2) takes time that is linear in the bytes, whatever they are.
PLAIN_PATTERN: Final = rf"\A\{{(?:{_MEMBER})(?:, ?(?:{_MEMBER}))*\}}\n?\z"

_ARROW: Final = {"STRING": pa.string(), "BIGINT": pa.int64()}
_SCHEMA: Final = pa.schema([(name, _ARROW[kind]) for name, kind in events.FIELDS.items()])
_MAX_SKEW: Final = pa.scalar(events.MAX_CLOCK_SKEW, pa.duration("us"))


def read_plain(data: pa.BinaryArray, arrived_at: pa.TimestampArray) -> tuple[pa.Table, pa.BooleanArray]:
    """Read the plain ones among events.

    Args:
        data: Bytes of each event.
        arrived_at: When its record arrived; microseconds, UTC.

    Returns:
        The fields of the events that are plain and listens, in order, `listen_time` as a time, `event_id` always
        there; and a mask over `data` that says which ones they are.
    """
    is_plain = pc.match_substring_regex(data, PLAIN_PATTERN)
    plain = data.filter(is_plain)
    fields = _read(plain)
    if fields is None:
        return _timed(_SCHEMA.empty_table()), pa.repeat(pa.scalar(False), len(data))
    is_listen = _is_listen(fields, arrived_at.filter(is_plain))
    chosen = pc.replace_with_mask(is_plain, is_plain, is_listen)
    return _identified(fields.filter(is_listen)), chosen


def _read(plain: pa.BinaryArray) -> pa.Table | None:
    """The events' fields, a row each; None where one of them names a field twice, which Arrow refuses."""
    if not len(plain):
        return None
    lines = b"\n".join(plain.to_pylist())
    try:
        fields = pj.read_json(
            pa.BufferReader(lines),
            read_options=pj.ReadOptions(use_threads=False, block_size=len(lines) + 1),
            parse_options=pj.ParseOptions(explicit_schema=_SCHEMA, unexpected_field_behavior="error"),
        )
    except pa.ArrowInvalid:
        return None
    if fields.num_rows != len(plain):
        raise AssertionError("expected a row from each plain event")
    return _timed(fields.combine_chunks())


def _timed(fields: pa.Table) -> pa.Table:
    place = fields.schema.get_field_index("listen_time")
    # Without a zone a time is UTC, so it is read without one.
    local = pc.utf8_rtrim(fields["listen_time"], "Z").cast(pa.timestamp("us"))
    return fields.set_column(place, "listen_time", local.cast(pa.timestamp("us", tz="UTC")))


def _is_listen(fields: pa.Table, arrived_at: pa.TimestampArray) -> pa.BooleanArray:
    """True where every field is there that must be, and the time is not after the arrival by too much."""
    in_time = pc.less_equal(fields["listen_time"], pc.add(arrived_at, _MAX_SKEW))
    listens = pc.fill_null(in_time, False)
    for name in events.REQUIRED_FIELDS:
        listens = pc.and_(listens, pc.is_valid(fields[name]))
    return listens.combine_chunks()


def _identified(listens: pa.Table) -> pa.Table:
    ids = listens["event_id"].combine_chunks()
    if not ids.null_count:
        return listens
    without = pc.is_null(ids)
    rows = listens.select(["user_id", "track_id", "listen_time"]).filter(without)
    derived = [
        events.derive_event_id(*row) for row in zip(*(column.to_pylist() for column in rows.columns), strict=True)
    ]
    place = listens.schema.get_field_index("event_id")
    return listens.set_column(place, "event_id", pc.replace_with_mask(ids, without, pa.array(derived, pa.string())))
