r"""The short way for the common event: `streaming_jobs.judging` on columns, for events that Arrow can read all at once.

A plain event is one flat object of known names only, each value null or of the type that the contract says, in UTF-8
on one line, without `\u` and with numbers of at most 18 digits. What is left to judge of it are its values. Every other
event is judged by itself, and both ways give the same answers. Pure Python and Arrow, no Spark.
"""

from __future__ import annotations

import itertools
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from lakehouse import events
from streaming_jobs.arrow_rows import whole
from streaming_jobs.judging import PLAINLY, fault_of, parse_time

# Bytes, not characters: what UTF-8 allows (RFC 3629 §4).
_BEYOND_ASCII: Final = (
    r"[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xed[\x80-\x9f][\x80-\xbf]"
    r"|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2}"
)
_CHARACTER: Final = rf"[ !#-\[\]-\x7f]|\\[\"\\/bfnrt]|{_BEYOND_ASCII}"
_OF_KIND: Final = {"STRING": f'"(?:{_CHARACTER})*"', "BIGINT": "(?:0|-?[1-9][0-9]{0,17})"}
_NAMES: Final = {
    kind: "|".join(name for name, its in events.FIELDS.items() if its == kind) for kind in ("STRING", "BIGINT")
}
_MEMBER: Final = "|".join(f'"(?:{_NAMES[kind]})" *: *(?:{value}|null)' for kind, value in _OF_KIND.items())
# The engine (RE2) takes time that is linear in the bytes, whatever they are.
_PLAIN_PATTERN: Final = rf"\A *\{{ *(?:(?:{_MEMBER})(?: *, *(?:{_MEMBER}))*)? *\}} *\n?\z"
# In a plain event a quote that no backslash goes before begins or ends a text, so this is a name.
_TWICE_PATTERN: Final = "(?s)" + "|".join(f'"{name}" *:.*"{name}" *:' for name in events.FIELDS)

_DAY: Final = (
    "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    "|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)
_UTC_PATTERN: Final = rf"\A[12][0-9]{{3}}-{_DAY}[T ](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:[.][0-9]{{1,6}})?Z?\z"
"""Times that Arrow reads as `judging.parse_time` does."""
_ON_A_DAY_PATTERN: Final = rf"\A[0-9]{{4}}-(?:{_DAY}|02-29)[T ]"
"""How everything begins that may be a time."""

_ABSENT: Final = type(None)
_PYTHON: Final = {"STRING": str, "BIGINT": int}
_LIMITS: Final = {"track_id": events.MAX_TRACK_ID_LENGTH, "event_id": events.MAX_EVENT_ID_LENGTH}
_OPTIONAL: Final = (_ABSENT,) * len(events.OPTIONAL_FIELDS)
_OUTCOMES: Final = (
    *(
        fault_of((*required, *_OPTIONAL))
        for required in itertools.product(*((_PYTHON[kind], _ABSENT) for kind in events.REQUIRED_FIELDS.values()))
    ),
    *(PLAINLY[reason] for reason in ("invalid_value", "invalid_time", "impossible_time")),
)
"""What can become of a plain event: the faults of each set of absent fields, None of none, then those of values."""
_TOLD: Final = pa.table(
    {f"reject_{name}": [one and getattr(one, name) for one in _OUTCOMES] for name in ("reason", "message")},
    schema=pa.schema([("reject_reason", pa.string()), ("reject_message", pa.string())]),
)
"""What is told of each outcome, a row each."""
_LISTEN: Final = _OUTCOMES.index(None)
_INVALID, _NO_TIME, _IMPOSSIBLE = (pa.scalar(len(_OUTCOMES) - back, pa.int8()) for back in (3, 2, 1))

_ARROW: Final = {"STRING": pa.string(), "BIGINT": pa.int64()}
_SCHEMA: Final = pa.schema([(name, _ARROW[kind]) for name, kind in events.FIELDS.items()])
_TIMESTAMP: Final = pa.timestamp("us", tz="UTC")
_EARLIEST: Final = pa.scalar(events.EARLIEST_LISTEN_TIME, _TIMESTAMP)
_MAX_SKEW: Final = pa.scalar(events.MAX_CLOCK_SKEW, pa.duration("us"))


class PlainEvents(NamedTuple):
    """What became of the plain ones among events.

    Attributes:
        is_listen: Mask over the events: which ones are plain and listens.
        is_reject: Mask over the events: which ones are plain and rejects.
        fields: A row for each event: the fields of a listen, `listen_time` as a time and `event_id` always there. Of
            other events it says nothing that is of use.
        rejects: A row for each plain reject, in order: `reject_reason`, `reject_message` and `event_id`.
    """

    is_listen: pa.BooleanArray
    is_reject: pa.BooleanArray
    fields: pa.Table
    rejects: pa.Table


def judge_plain(data: pa.BinaryArray, arrived_at: pa.TimestampArray) -> PlainEvents:
    """Judge the plain ones among events.

    Args:
        data: Bytes of each event.
        arrived_at: When its record arrived; microseconds, UTC.
    """
    is_plain = pc.and_(
        pc.match_substring_regex(data, _PLAIN_PATTERN), pc.less_equal(pc.binary_length(data), events.MAX_EVENT_BYTES)
    )
    try:
        fields = _read(data, is_plain)
    except pa.ArrowInvalid:
        # Arrow refuses them all where one names a field twice.
        is_plain = pc.and_not(is_plain, pc.match_substring_regex(data, _TWICE_PATTERN))
        fields = _read(data, is_plain)
    times = _times(whole(fields["listen_time"]))
    outcome = _number_outcomes(fields, times, arrived_at)
    # What is not plain was read as an event without fields, which is no listen.
    is_listen = pc.equal(outcome, _LISTEN)
    is_reject = pc.and_not(is_plain, is_listen)
    rejects = _TOLD.take(outcome.filter(is_reject)).append_column("event_id", fields["event_id"].filter(is_reject))
    for name, column in (("listen_time", times), ("event_id", _ids(fields, times, is_listen))):
        fields = fields.set_column(fields.schema.get_field_index(name), name, column)
    return PlainEvents(is_listen, is_reject, fields, rejects)


def _read(data: pa.BinaryArray, is_plain: pa.BooleanArray) -> pa.Table:
    """The events' fields, a row each, null where one is not plain.

    Raises:
        ArrowInvalid: If a plain event names a field twice.
    """
    if not len(data):
        return _SCHEMA.empty_table()
    objects = data if pc.all(is_plain).as_py() else pc.if_else(is_plain, data, b"{}")
    lines = pc.binary_join(pa.ListArray.from_arrays([0, len(objects)], objects), b"\n")[0].as_buffer()
    fields = pj.read_json(
        pa.BufferReader(lines),
        read_options=pj.ReadOptions(use_threads=False, block_size=lines.size + 1),
        parse_options=pj.ParseOptions(explicit_schema=_SCHEMA, unexpected_field_behavior="error"),
    )
    if fields.num_rows != len(objects):
        raise AssertionError("expected a row from each event")
    return fields


def _times(texts: pa.StringArray) -> pa.TimestampArray:
    """The times that texts stand for, null where a text is no time."""
    is_utc = pc.fill_null(pc.match_substring_regex(texts, _UTC_PATTERN), False)
    # Without a zone a time is UTC, so it is read without one.
    times = pc.utf8_rtrim(pc.if_else(is_utc, texts, None), "Z").cast(pa.timestamp("us")).cast(_TIMESTAMP)
    if pc.all(is_utc).as_py():
        return times
    others = texts.filter(pc.invert(is_utc))
    may_be = pc.fill_null(pc.match_substring_regex(others, _ON_A_DAY_PATTERN), False)
    if not pc.any(may_be).as_py():
        return times
    found = pa.array(map(parse_time, others.filter(may_be).to_pylist()), _TIMESTAMP)
    found = pc.replace_with_mask(pa.nulls(len(others), _TIMESTAMP), may_be, found)
    return pc.replace_with_mask(times, pc.invert(is_utc), found)


def _number_outcomes(fields: pa.Table, times: pa.TimestampArray, arrived_at: pa.TimestampArray) -> pa.Int8Array:
    """Which of `_OUTCOMES` each event has: the first that applies, in the order of `INGEST_REASONS`."""
    # The numbers of sets of absent fields are binary ones.
    missing = pa.scalar(_LISTEN, pa.int8())
    for name in events.REQUIRED_FIELDS:
        missing = pc.add(pc.add(missing, missing), pc.is_null(fields[name]).cast(pa.int8()))
    invalid = pc.invert(pc.and_(*(_fits(fields[name], most) for name, most in _LIMITS.items())))
    impossible = pc.or_(pc.less(times, _EARLIEST), pc.greater(times, pc.add(arrived_at, _MAX_SKEW)))
    found = pc.make_struct(pc.not_equal(missing, _LISTEN), invalid, pc.is_null(times), impossible)
    return whole(pc.case_when(found, missing, _INVALID, _NO_TIME, _IMPOSSIBLE, missing))


def _fits(texts: pa.ChunkedArray, most: int) -> pa.ChunkedArray:
    length = pc.utf8_length(texts)
    return pc.fill_null(pc.and_(pc.greater_equal(length, 1), pc.less_equal(length, most)), True)


def _ids(fields: pa.Table, times: pa.TimestampArray, is_listen: pa.BooleanArray) -> pa.StringArray:
    """The events' ids, and the derived ones of listens that carry none."""
    ids = whole(fields["event_id"])
    without = pc.and_(pc.is_null(ids), is_listen)
    if not pc.any(without).as_py():
        return ids
    # As `events.derive_event_id` puts it, which Arrow writes with a blank for the T.
    stamps = pc.replace_substring(times.filter(without).cast(pa.timestamp("us")).cast(pa.string()), " ", "T")
    users, tracks = (fields[name].filter(without).cast(pa.string()) for name in ("user_id", "track_id"))
    names = pc.binary_join_element_wise(users, tracks, stamps, "|").to_pylist()
    derived = [events.event_id_of(f"{name}Z") for name in names]
    return pc.replace_with_mask(ids, without, pa.array(derived, pa.string()))
