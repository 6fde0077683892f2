"""The rules of the listen event as Spark columns: the twin of `lakehouse.events` for frames.

Pure: columns in, columns out. `batch_transform` applies them to files put by hand; the streaming job judges events by
`streaming_jobs.judging`.
"""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

from lakehouse import bad_records, events


def listen_time(text: Column) -> Column:
    """Parse ISO 8601 text to a timestamp; null where the text is no such time. The session's zone must be UTC."""
    return F.when(text.rlike(events.LISTEN_TIME_PATTERN), text.try_cast("timestamp"))


def invalid_value(track_id: Column, event_id: Column) -> Column:
    """True where a text field is empty or too long; lengths are in characters."""
    track_fits = F.length(track_id).between(1, events.MAX_TRACK_ID_LENGTH)
    event_fits = event_id.isNull() | F.length(event_id).between(1, events.MAX_EVENT_ID_LENGTH)
    return ~(track_fits & event_fits)


def impossible_time(time: Column, arrived_at: Column) -> Column:
    """True where the listen lies before 2000 or more than 24 hours after its arrival."""
    earliest = F.lit(events.EARLIEST_LISTEN_TIME.isoformat()).cast("timestamp")
    skew = F.expr(f"INTERVAL {int(events.MAX_CLOCK_SKEW.total_seconds())} SECONDS")
    return (time < earliest) | (time > arrived_at + skew)


def event_id(given: Column) -> Column:
    """The event's own id or, without one, the id derived from columns `user_id`, `track_id` and `listen_time`."""
    return F.coalesce(given, F.expr(events.event_id_sql()))


def fingerprint(reason: Column, message: Column) -> Column:
    """The name of a reject's cause, as `bad_records.fingerprint_of` gives it."""
    named = F.regexp_replace(message, bad_records.INSIDE_OF_TYPE_PATTERN, "")
    return F.substring(F.sha2(F.concat(reason, F.lit("|"), named), 256), 1, bad_records.FINGERPRINT_DIGITS)
