"""The listen event: its fields, its limits, the reasons to reject one, and the id of an event that has none.

Pure Python, no Spark: producers, jobs, the Lambda and tests read the same definitions. The Spark side of the same
rules, for files put by hand, is `lakehouse.listen_rules`.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Final

MAX_EVENT_BYTES: Final = 64 * 1024
MAX_TRACK_ID_LENGTH: Final = 64
MAX_EVENT_ID_LENGTH: Final = 64
EARLIEST_LISTEN_TIME: Final = datetime(2000, 1, 1, tzinfo=UTC)
MAX_CLOCK_SKEW: Final = timedelta(hours=24)
"""How far `listen_time` may lie after arrival before the event is `impossible_time`."""
LATE_AFTER: Final = timedelta(hours=24)
"""How long after `listen_time` an event may arrive before it is late, unless the settings say otherwise."""
FUTURE_TOLERANCE: Final = timedelta(minutes=5)
"""How long before `listen_time` it may arrive before it is a future event, unless the settings say otherwise."""

REQUIRED_FIELDS: Final = {"user_id": "BIGINT", "track_id": "STRING", "listen_time": "STRING"}
OPTIONAL_FIELDS: Final = {
    "event_id": "STRING",
    "schema_version": "BIGINT",
    "played_ms": "BIGINT",
    "platform": "STRING",
    "session_id": "STRING",
}
FIELDS: Final = REQUIRED_FIELDS | OPTIONAL_FIELDS
"""JSON type of each known field, by the name of Spark's type. Unknown fields are kept in `extra`."""

LISTEN_TIME_PATTERN: Final = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})?(?![\s\S])"
)
"""ISO 8601 with `T` or a space; no offset means UTC; digits past the microsecond are cut off.

It ends with "no character follows", because `$` also matches before a line feed at the end.
"""

INGEST_REASONS: Final = {
    "oversize": f"the event is larger than {MAX_EVENT_BYTES} bytes",
    "invalid_utf8": "the bytes are not UTF-8",
    "invalid_json": "the payload is not one JSON object",
    "missing_field": "a required field is absent or null",
    "wrong_type": "a field has another JSON type than the contract says",
    "invalid_value": "a text field is empty or too long",
    "invalid_time": "listen_time is no ISO 8601 date and time",
    "impossible_time": "listen_time is before 2000 or more than 24 hours after arrival",
}
"""Reason codes of the streaming job, in the order in which they are tested: the first that applies is the reason."""

POLICY_REASONS: Final = {
    "late_event": "the event arrived longer after listen_time than the job was told to take",
    "future_event": "the event arrived longer before listen_time than the job was told to take",
}
"""Reason codes of the streaming job that only its settings bring about; they are tested after all others."""

ISOLATION_REASONS: Final = {"unprocessable": "the streaming job fails on the record, also when it is tried alone"}
"""Reason codes of the streaming job for what no rule foresaw: the message also names the class of the error."""

ENRICHMENT_REASONS: Final = {
    "unreadable_file": "a file put by hand is no parquet file with user_id, track_id and listen_time",
    "unknown_user": "user_id is not in users.csv",
    "unknown_track": "track_id is not in songs.csv",
    "conflicting_duplicate": "an earlier listen has this event_id and listen_time with another user or track",
}
"""Reason codes of `batch_transform`, in the order in which they are tested."""

DROP_REASONS: Final = {
    "unreadable_csv": "no record of the CSV file can be read",
    "malformed_csv": "the CSV record does not fit its header, or is not RFC 4180",
}
"""Reason codes of CSV files under `streams/` beside those of the streaming job: here there is no event to judge."""

DIMENSION_REASONS: Final = {"malformed_row": "a row of a dimension file does not fit its columns"}

BETWEEN_EVENTS_PATTERN: Final = r"\}\r?\n\{"
"""What tells a record of several events from a record of one: `}`, an end of line, `{`, anywhere in its bytes."""

_BETWEEN_EVENTS: Final = re.compile(BETWEEN_EVENTS_PATTERN.encode())

EVENT_ID_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "https://listenlake.dev/listen")
_NAMESPACE: Final = EVENT_ID_NAMESPACE.bytes
_VARIANTS: Final = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))


def split_events(data: bytes) -> list[tuple[int, bytes]]:
    r"""Return the events of one Kinesis record with their line numbers.

    A record that holds `}` LF `{` or `}` CR LF `{` anywhere is JSON Lines, one event a line. The rule can't take one
    event for many: in a JSON document a comma stands between `}` and `{`, and a line feed within a text is escaped.
    JSON Lines are split at every LF; one CR at the end of a line is dropped, then empty lines are skipped. Any other
    record, of whatever bytes, is one event: all of it, on line 1.

    Args:
        data: The record's bytes.

    Returns:
        (line, event) in order. Lines are counted from 1, empty ones too, as an editor shows them.
    """
    if _BETWEEN_EVENTS.search(data) is None:
        return [(1, data)]
    lines = data.split(b"\n")
    if b"\r" in data:
        lines = [line.removesuffix(b"\r") for line in lines]
    return [(number, line) for number, line in enumerate(lines, start=1) if line]


def derive_event_id(user_id: int, track_id: str, listen_time: datetime) -> str:
    """Return the id of an event that carries none: the same row delivered twice is one listen.

    Args:
        user_id: The listener.
        track_id: The track.
        listen_time: Aware time of the listen; anything finer than a microsecond is already cut off.

    Returns:
        A UUIDv5 (RFC 9562) over the three fields, in canonical text form.
    """
    stamp = listen_time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
    return event_id_of(f"{user_id}|{track_id}|{stamp}Z")


def event_id_of(name: str) -> str:
    """Return the UUIDv5 of `user_id|track_id|listen_time`; as `uuid.uuid5` gives it, for less."""
    d = hashlib.sha1(_NAMESPACE + name.encode(), usedforsecurity=False).hexdigest()
    # RFC 9562 §5.5: version 5 in the 13th hex digit, variant 10x in the two top bits of the 17th.
    return f"{d[:8]}-{d[8:12]}-5{d[13:16]}-{_VARIANTS[d[16]]}{d[17:20]}-{d[20:32]}"


def event_id_sql(user_id: str = "user_id", track_id: str = "track_id", listen_time: str = "listen_time") -> str:
    """Return `derive_event_id` as a Spark SQL expression over the named columns (the session's zone must be UTC)."""
    stamp = f"date_format({listen_time}, \"yyyy-MM-dd'T'HH:mm:ss.SSSSSS'Z'\")"
    name = f"concat_ws('|', cast({user_id} AS STRING), {track_id}, {stamp})"
    digest = f"sha1(concat(unhex('{EVENT_ID_NAMESPACE.hex}'), encode({name}, 'UTF-8')))"
    # RFC 9562 §5.5: version 5 in the 13th hex digit, variant 10x in the two top bits of the 17th.
    variant = "substr('89ab', cast(conv(substr(d, 17, 1), 16, 10) AS INT) % 4 + 1, 1)"
    text = (
        "concat(substr(d, 1, 8), '-', substr(d, 9, 4), '-5', substr(d, 14, 3), '-', "
        f"{variant}, substr(d, 18, 3), '-', substr(d, 21, 12))"
    )
    return f"element_at(transform(array({digest}), d -> {text}), 1)"
