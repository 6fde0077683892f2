"""The short way for events whose values have other types than the contract says: they are read many at once.

A mistyped event is a plain one but for the types of its values, each of which is a text without escapes, a number,
true, false or null. What is wrong with it follows from its names and their types alone, so it is told once for all
events that share them. Pure Python and Arrow, no Spark.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from lakehouse import events
from streaming_jobs.judging import Reject, fault_of
from streaming_jobs.plain_events import BEYOND_ASCII, TWICE_PATTERN
from streaming_jobs.strict_json import Number

_AT_ONCE: Final = 200
"""Events of which the members are in memory together."""
_TEXT: Final = rf'"(?:[ !#-\[\]-\x7f]|{BEYOND_ASCII})*"'
_NUMBER: Final = "-?(?:0|[1-9][0-9]{0,17})(?:[.][0-9]+)?(?:[eE][+-]?[0-9]+)?"
_MEMBER: Final = f'"(?:{"|".join(events.FIELDS)})" *: *(?:{_TEXT}|{_NUMBER}|true|false|null)'
_MISTYPED_PATTERN: Final = rf"\A *\{{ *{_MEMBER}(?: *, *{_MEMBER})* *\}} *\n?\z"
_READER: Final = json.JSONDecoder(parse_float=Number)


def reject_mistyped(data: pa.BinaryArray) -> tuple[dict[str, list[str | None]], pa.BooleanArray]:
    """Judge the mistyped ones among events.

    Args:
        data: Bytes of each event.

    Returns:
        `reject_reason`, `reject_message` and `event_id` of the mistyped events, in order. And a mask over `data` that
        says which events these are.
    """
    may_be = pc.and_(
        pc.match_substring_regex(data, _MISTYPED_PATTERN), pc.less_equal(pc.binary_length(data), events.MAX_EVENT_BYTES)
    )
    may_be = pc.and_not(may_be, pc.match_substring_regex(pc.if_else(may_be, data, b""), TWICE_PATTERN))
    faults: list[Reject | None] = []
    rejects: dict[str, list[str | None]] = {"reject_reason": [], "reject_message": [], "event_id": []}
    for members in _read(data.filter(may_be).to_pylist()):
        fault = _fault(tuple(members), tuple(map(type, members.values())))
        faults.append(fault)
        if fault is not None:
            event_id = members.get("event_id")
            rejects["reject_reason"].append(fault.reason)
            rejects["reject_message"].append(fault.message)
            rejects["event_id"].append(event_id if type(event_id) is str else None)
    is_mistyped = pa.array([fault is not None for fault in faults], pa.bool_())
    return rejects, pc.replace_with_mask(may_be, may_be, is_mistyped)


def _read(some: list[bytes]) -> Iterator[dict[str, Any]]:
    for first in range(0, len(some), _AT_ONCE):
        yield from _READER.decode(f"[{b','.join(some[first : first + _AT_ONCE]).decode()}]")


@lru_cache(10_000)
def _fault(names: tuple[str, ...], types: tuple[type, ...]) -> Reject | None:
    told = dict(zip(names, types, strict=True))
    return fault_of(tuple(told.get(name, type(None)) for name in events.FIELDS))
