"""The ways to say a listen that the contract allows: they are no faults and must count like the plain one."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from enum import IntEnum
from typing import Any, Final

from producers.malformed import JSON

Event = dict[str, Any]

OFFSETS_MINUTES: Final = (120, -300, 330, 840)
REPHRASINGS: Final = 3
SPACED_JSON: Final = json.JSONEncoder(ensure_ascii=False, separators=(" , ", " : "))


class Wording(IntEnum):
    """How an event says what it says."""

    PLAIN = 0
    SPACE_TIME = 1
    OFFSET_TIME = 2
    NO_EVENT_ID = 3
    EXTRA_FIELDS = 4


def word(event: Event, wording: Wording) -> Event:
    """Return a plain event in another wording; of a space-separated time the milliseconds are dropped."""
    played = event["played_ms"]
    moment = datetime.fromisoformat(event["listen_time"])
    match wording:
        case Wording.SPACE_TIME:
            return event | {"listen_time": moment.strftime("%Y-%m-%d %H:%M:%S")}
        case Wording.OFFSET_TIME:
            zone = timezone(timedelta(minutes=OFFSETS_MINUTES[played % len(OFFSETS_MINUTES)]))
            return event | {"listen_time": moment.astimezone(zone).isoformat(timespec="milliseconds")}
        case Wording.NO_EVENT_ID:
            return {name: value for name, value in event.items() if name != "event_id"}
        case Wording.EXTRA_FIELDS:
            queue = {"position": played % 50, "shuffled": True}
            return event | {"device_model": f"model-{played % 7}", "queue": queue}
    return event


def rephrase(event: Event, way: int) -> bytes:
    """Return other bytes of the same listen: fields the other way round, another spelling of the time, or spaces.

    Args:
        event: A worded event.
        way: Which of the `REPHRASINGS`, counted round and round.
    """
    match way % REPHRASINGS:
        case 0:
            return JSON.encode(dict(reversed(event.items()))).encode()
        case 1:
            moment = datetime.fromisoformat(event["listen_time"])
            spelled = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
            return JSON.encode(event | {"listen_time": spelled.isoformat(timespec="microseconds")}).encode()
        case _:
            return SPACED_JSON.encode(event).encode()
