"""The ways to say a listen that the contract allows: they are no faults and must count like the plain one."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any, Final

from producers.malformed import JSON

Event = dict[str, Any]

REPHRASINGS: Final = 3
SPACED_JSON: Final = json.JSONEncoder(ensure_ascii=False, separators=(" , ", " : "))


class Wording(IntEnum):
    """How an event says what it says."""

    PLAIN = 0
    SPACE_TIME = 1
    OFFSET_TIME = 2
    NO_EVENT_ID = 3
    EXTRA_FIELDS = 4


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
