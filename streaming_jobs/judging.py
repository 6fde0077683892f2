"""One event's bytes in, a listen or the reason against it out: the ingest rules, strictly. Pure Python, no Spark.

`streaming_jobs.plain_events` does the same for many events at once, and gives the same answers.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final, NamedTuple

from lakehouse import events
from streaming_jobs.strict_json import Number, read_object, to_json

_TIME: Final = re.compile(events.LISTEN_TIME_PATTERN)
_MAX_OFFSET: Final = timedelta(hours=18)
"""The widest offset from UTC that `java.time` and ISO 8601 profiles know."""
_LEAST: Final = -(2**63)
_MOST: Final = 2**63 - 1
_INTEGERS: Final = tuple(name for name, kind in events.FIELDS.items() if kind == "BIGINT")
_NO_YEAR: Final = "0000-"
"""ISO 8601 has a year 0; `datetime` begins with 1. Both lie before 2000."""
_LAST_MINUTE: Final = "59"

# Of JSON types that the contract knows, by the names of `events.FIELDS`; of the others, by JSON's own.
_KINDS: Final = {str: "STRING", int: "BIGINT", bool: "BOOLEAN", Number: "NUMBER", list: "ARRAY", dict: "OBJECT"}


class Reject(NamedTuple):
    """Why an event is no listen.

    Attributes:
        reason: A code of `INGEST_REASONS`.
        message: What was wrong, for people; it names fields and types and never holds a value.
        event_id: The event's own id where it could be read.
    """

    reason: str
    message: str
    event_id: str | None = None


PLAINLY: Final = {reason: Reject(reason, message) for reason, message in events.INGEST_REASONS.items()}
"""Rejects for reasons that name no field."""


def judge(data: bytes, latest: datetime) -> tuple[Any, ...] | Reject:
    """Judge one event.

    Args:
        data: Its bytes.
        latest: The last possible time of a listen that arrived when this event did, aware.

    Returns:
        The values of a listen in the order of `events.FIELDS`, with `listen_time` in UTC, and `extra`, the members that
        the contract does not know as JSON text by name (None when there are none); or the first reason against it, in
        the order of `INGEST_REASONS`.
    """
    if len(data) > events.MAX_EVENT_BYTES:
        return PLAINLY["oversize"]
    try:
        members = _members(data.decode())
        if members is None:
            return PLAINLY["invalid_json"]
        values: tuple[Any, ...] = tuple(map(members.get, events.FIELDS))
        # As many as there are fields, where each member that there is is a field and not null.
        extra = _extra(members) if len(members) + values.count(None) > len(values) else None
    except UnicodeDecodeError:
        return PLAINLY["invalid_utf8"]
    # What is too deep to be read, or to be written again, is deeper than any listen.
    except (ValueError, RecursionError):
        return PLAINLY["invalid_json"]
    user_id, track_id, listen_time, event_id, *others = values
    reject = fault_of(tuple(map(type, values)))
    if reject is None:
        time = _possible_time(track_id, listen_time, event_id, latest)
        if isinstance(time, datetime):
            event_id = event_id or events.derive_event_id(user_id, track_id, time)
            return (user_id, track_id, time, event_id, *others, extra)
        reject = time
    return reject if type(event_id) is not str else Reject(reject.reason, reject.message, event_id)


def _possible_time(track_id: str, listen_time: str, event_id: str | None, latest: datetime) -> datetime | Reject:
    """The time of a listen whose fields have their types, or the reason against their values."""
    if not 1 <= len(track_id) <= events.MAX_TRACK_ID_LENGTH:
        return PLAINLY["invalid_value"]
    if event_id is not None and not 1 <= len(event_id) <= events.MAX_EVENT_ID_LENGTH:
        return PLAINLY["invalid_value"]
    time = parse_time(listen_time)
    if time is None:
        return PLAINLY["invalid_time"]
    return time if events.EARLIEST_LISTEN_TIME <= time <= latest else PLAINLY["impossible_time"]


def parse_time(text: str) -> datetime | None:
    """Return an ISO 8601 time in UTC, cut off at the microsecond; None where the text is no such time.

    A time beyond the years that `datetime` knows comes out as one that it knows and that is as impossible for a listen.
    """
    if _TIME.match(text) is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        # Year 4 is as long as year 0.
        is_in_year_0 = text.startswith(_NO_YEAR) and parse_time("0004-" + text[5:]) is not None
        return datetime.min.replace(tzinfo=UTC) if is_in_year_0 else None
    if time.tzinfo is None or time.tzinfo is UTC:
        return time.replace(tzinfo=UTC)
    return _in_utc(time) if text[-2:] <= _LAST_MINUTE else None


def _in_utc(time: datetime) -> datetime | None:
    offset = time.utcoffset() or timedelta()
    if abs(offset) > _MAX_OFFSET:
        return None
    time = time.replace(tzinfo=UTC)
    try:
        return time - offset
    except OverflowError:
        return time


def _members(text: str) -> dict[str, Any] | None:
    """The members of the text's one object, its known fields' integers within 64 bits; None as `read_object`."""
    members = read_object(text)
    if members is not None:
        for name in _INTEGERS:
            if type(value := members.get(name)) is int and not _LEAST <= value <= _MOST:
                members[name] = Number(value)
    return members


def _extra(members: dict[str, Any]) -> dict[str, str] | None:
    return {name: to_json(value) for name, value in members.items() if name not in events.FIELDS} or None


@lru_cache(10_000)
def fault_of(types: tuple[type, ...]) -> Reject | None:
    """Return the first reason against the fields by their types, which are in the order of `events.FIELDS`; or None."""
    kinds = dict(zip(events.FIELDS, types, strict=True))
    absent = [name for name in events.REQUIRED_FIELDS if kinds[name] is type(None)]
    if absent:
        return _about("missing_field", absent)
    told = {name: _KINDS[kind] for name, kind in kinds.items() if kind is not type(None)}
    mistyped = [
        f"{name} as {kind} for {events.FIELDS[name]}" for name, kind in told.items() if kind != events.FIELDS[name]
    ]
    return _about("wrong_type", mistyped) if mistyped else None


def _about(reason: str, fields: list[str]) -> Reject:
    return Reject(reason, f"{events.INGEST_REASONS[reason]}: {', '.join(fields)}")
