"""One event's bytes in, a listen or the reason against it out: the ingest rules, strictly. Pure Python, no Spark.

`json` alone is lenient where the contract is not: it takes `NaN`, keeps the last of two members with one name, and
rounds numbers. Here each of those is seen.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from lakehouse import events

_TIME: Final = re.compile(events.LISTEN_TIME_PATTERN)
_MAX_OFFSET: Final = timedelta(hours=18)
"""The widest offset from UTC that `java.time` and ISO 8601 profiles know."""
_INTEGERS: Final = range(-(2**63), 2**63)
_NO_TIME: Final = "0000-"
"""ISO 8601 has a year 0; `datetime` begins with 1. Both lie before 2000."""


class _NoJsonError(ValueError):
    """A text that `json` would take and the contract does not."""


class _Number(str):
    """A number that is no 64-bit integer, as it was written."""

    __slots__ = ()


# Of JSON types that the contract knows, by the names of `events.FIELDS`; of the others, by JSON's own.
_KINDS: Final = {str: "STRING", int: "BIGINT", bool: "BOOLEAN", _Number: "NUMBER", list: "ARRAY", dict: "OBJECT"}


@dataclass(frozen=True, slots=True)
class Reject:
    """Why an event is no listen.

    Attributes:
        reason: A code of `INGEST_REASONS`.
        message: What was wrong, for people; it names fields and types and never holds a value.
        event_id: The event's own id where it could be read.
    """

    reason: str
    message: str
    event_id: str | None = None


def judge(data: bytes, arrived_at: datetime) -> dict[str, Any] | Reject:
    """Judge one event.

    Args:
        data: Its bytes.
        arrived_at: When Kinesis took its record, aware.

    Returns:
        The values of a listen by the names of `events.FIELDS`, with `listen_time` in UTC and `extra`, the members that
        the contract does not know as JSON text by name (None when there are none); or the first reason against it, in
        the order of `INGEST_REASONS`.
    """
    values = _read(data)
    if isinstance(values, Reject):
        return values
    event_id = values["event_id"] if type(values["event_id"]) is str else None
    fault = _fault(values)
    if fault is not None:
        reason, fields = fault
        return _reject(reason, fields, event_id)
    time = parse_time(values["listen_time"])
    if time is None:
        return _reject("invalid_time", event_id=event_id)
    if time < events.EARLIEST_LISTEN_TIME or time > arrived_at + events.MAX_CLOCK_SKEW:
        return _reject("impossible_time", event_id=event_id)
    values["listen_time"] = time
    values["event_id"] = event_id or events.derive_event_id(values["user_id"], values["track_id"], time)
    return values


def parse_time(text: str) -> datetime | None:
    """Return an ISO 8601 time in UTC, cut off at the microsecond; None where the text is no such time.

    A time beyond the years that `datetime` knows comes out as the nearest one it knows.
    """
    match = _TIME.match(text)
    if match is None:
        return None
    fraction, zone = match[1] or "", match[2] or "Z"
    is_year_0 = text.startswith(_NO_TIME)
    try:
        # Year 4 is as long as year 0.
        time = datetime.fromisoformat(("0004-" + text[5:19]) if is_year_0 else text[:19]).replace(tzinfo=UTC)
    except ValueError:
        return None
    hours, minutes = (0, 0) if zone == "Z" else (int(zone[1:3]), int(zone[4:6]))
    offset = timedelta(hours=hours, minutes=minutes)
    if minutes > 59 or offset > _MAX_OFFSET:
        return None
    if is_year_0:
        return datetime.min.replace(tzinfo=UTC)
    try:
        time -= -offset if zone[0] == "-" else offset
    except OverflowError:
        return time
    return time + timedelta(microseconds=int(fraction[1:7].ljust(6, "0")))


def _reject(reason: str, fields: str | None = None, event_id: str | None = None) -> Reject:
    told = events.INGEST_REASONS[reason]
    return Reject(reason, f"{told}: {fields}" if fields else told, event_id)


def _read(data: bytes) -> dict[str, Any] | Reject:
    """The values of all known fields, None where absent, and `extra`."""
    if len(data) > events.MAX_EVENT_BYTES:
        return _reject("oversize")
    try:
        members = _one_object(data.decode())
        extra = {name: _to_json(value) for name, value in members.items() if name not in events.FIELDS}
    except UnicodeDecodeError:
        return _reject("invalid_utf8")
    # What is too deep to be read, or to be written again, is deeper than any listen.
    except (ValueError, RecursionError):
        return _reject("invalid_json")
    return {name: members.get(name) for name in events.FIELDS} | {"extra": extra or None}


def _fault(values: dict[str, Any]) -> tuple[str, str | None] | None:
    """The first reason against the fields as they stand, with the names that it is about."""
    absent = [name for name in events.REQUIRED_FIELDS if values[name] is None]
    if absent:
        return "missing_field", ", ".join(absent)
    kinds = {name: _KINDS[type(values[name])] for name in events.FIELDS if values[name] is not None}
    mistyped = [
        f"{name} as {kind} for {events.FIELDS[name]}" for name, kind in kinds.items() if kind != events.FIELDS[name]
    ]
    if mistyped:
        return "wrong_type", ", ".join(mistyped)
    limits = {"track_id": events.MAX_TRACK_ID_LENGTH, "event_id": events.MAX_EVENT_ID_LENGTH}
    if all(values[name] is None or 1 <= len(values[name]) <= most for name, most in limits.items()):
        return None
    return "invalid_value", None


def _one_object(text: str) -> dict[str, Any]:
    members: Any = json.loads(
        text, object_pairs_hook=_distinct, parse_constant=_refuse, parse_float=_Number, parse_int=_integer
    )
    if not isinstance(members, dict):
        raise _NoJsonError("no object")
    if "\\u" in text:
        # Half of a surrogate pair can be escaped, but is no character: a UnicodeEncodeError, which is a ValueError.
        _to_json(members).encode()
    return members


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise _NoJsonError("a name twice")
    return members


def _refuse(word: str) -> Any:
    raise _NoJsonError(word)


def _integer(digits: str) -> int | _Number:
    # Python refuses to read thousands of digits; no field needs more than twenty.
    if len(digits) <= 20 and int(digits) in _INTEGERS:
        return int(digits)
    return _Number(digits)


def _to_json(value: Any) -> str:
    """JSON text of a parsed value, its numbers as they were written."""
    if type(value) is dict:
        return "{" + ",".join(f"{json.dumps(k, ensure_ascii=False)}:{_to_json(v)}" for k, v in value.items()) + "}"
    if type(value) is list:
        return "[" + ",".join(map(_to_json, value)) + "]"
    return value if type(value) is _Number else json.dumps(value, ensure_ascii=False)
