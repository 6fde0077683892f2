"""Ways to break an event at ingest, each with the reason code that it must be rejected with.

Each way spoils exactly one thing, save `oversize_and_no_json`, which holds the order of the tests.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from lakehouse.events import MAX_EVENT_BYTES, MAX_EVENT_ID_LENGTH, MAX_TRACK_ID_LENGTH

if TYPE_CHECKING:
    from collections.abc import Callable

Event = dict[str, Any]

JSON: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True)
class Malformation:
    """One way to break an event.

    Attributes:
        name: Its name in the manifest.
        reason: The code in `lakehouse.events.INGEST_REASONS` that must result.
        apply: Turns a good event into the broken bytes.
    """

    name: str
    reason: str
    apply: Callable[[Event], bytes]


def encode(event: Event) -> bytes:
    """Return the event as compact JSON."""
    return JSON.encode(event).encode()


def _with(**fields: Any) -> Callable[[Event], bytes]:
    return lambda event: encode(event | fields)


def _without(*names: str) -> Callable[[Event], bytes]:
    return lambda event: encode({name: value for name, value in event.items() if name not in names})


def _oversize(event: Event) -> bytes:
    overhead = len(encode(event | {"note": ""}))
    return encode(event | {"note": "x" * (MAX_EVENT_BYTES + 1 - overhead)})


MALFORMATIONS: Final = tuple(
    Malformation(name, reason, apply)
    for name, reason, apply in (
        ("oversize_by_one_byte", "oversize", _oversize),
        ("oversize_and_no_json", "oversize", lambda event: encode(event) * 512),
        ("stray_byte", "invalid_utf8", lambda event: encode(event).replace(b":", b":\xff", 1)),
        ("latin_1", "invalid_utf8", lambda event: encode(event | {"city": "M\u00fcnchen"}).decode().encode("latin-1")),
        ("utf_16", "invalid_utf8", lambda event: encode(event).decode().encode("utf-16")),
        ("truncated", "invalid_json", lambda event: encode(event)[:-9]),
        ("array", "invalid_json", lambda event: b"[" + encode(event) + b"]"),
        ("scalar", "invalid_json", lambda event: encode(event["track_id"])),
        ("trailing_garbage", "invalid_json", lambda event: encode(event) + b"}"),
        ("two_objects", "invalid_json", lambda event: encode(event) + b" " + encode(event)),
        ("empty", "invalid_json", lambda _: b""),
        ("user_id_absent", "missing_field", _without("user_id")),
        ("track_id_null", "missing_field", _with(track_id=None)),
        ("listen_time_absent", "missing_field", _without("listen_time")),
        ("no_fields", "missing_field", lambda _: b"{}"),
        ("user_id_text", "wrong_type", lambda event: encode(event | {"user_id": str(event["user_id"])})),
        ("user_id_fraction", "wrong_type", lambda event: encode(event | {"user_id": event["user_id"] + 0.5})),
        ("track_id_number", "wrong_type", _with(track_id=4711)),
        ("listen_time_number", "wrong_type", _with(listen_time=1_719_337_393)),
        ("event_id_number", "wrong_type", _with(event_id=4711)),
        ("played_ms_text", "wrong_type", _with(played_ms="long")),
        ("track_id_empty", "invalid_value", _with(track_id="")),
        ("track_id_too_long", "invalid_value", _with(track_id="t" * (MAX_TRACK_ID_LENGTH + 1))),
        ("event_id_too_long", "invalid_value", _with(event_id="e" * (MAX_EVENT_ID_LENGTH + 1))),
        ("word_for_time", "invalid_time", _with(listen_time="yesterday")),
        ("date_only", "invalid_time", _with(listen_time="2024-06-25")),
        ("day_first", "invalid_time", _with(listen_time="25/06/2024 17:43:13")),
        ("thirteenth_month", "invalid_time", _with(listen_time="2024-13-25T17:43:13Z")),
        ("thirtieth_of_february", "invalid_time", _with(listen_time="2024-02-30T17:43:13Z")),
        ("last_century", "impossible_time", _with(listen_time="1999-12-31T23:59:59Z")),
        ("far_future", "impossible_time", _with(listen_time="2999-01-01T00:00:00Z")),
    )
)
