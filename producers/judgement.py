"""Judges replayed rows by the rules of the listen event, in SQL: a second mechanism beside the pipeline's.

One statement turns the columns of `records.RAW_FACTS` into those of `records.FACTS`. Reasons are tested in the order
of `lakehouse.events.INGEST_REASONS`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from lakehouse.events import MAX_CLOCK_SKEW, MAX_EVENT_BYTES, MAX_EVENT_ID_LENGTH, MAX_TRACK_ID_LENGTH

if TYPE_CHECKING:
    import duckdb

TIME_PATTERN: Final = (
    "[0-9]{4}-[0-9]{2}-[0-9]{2}[T ](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:[.][0-9]{1,9})?"
    "(?:Z|[+-](?:0[0-9]|1[0-7]):[0-5][0-9]|[+-]18:00)?"
)
"""ISO 8601 as the contract has it; offsets reach to 18 hours."""
LIMITS: Final = {
    "time_pattern": TIME_PATTERN,
    "max_event_bytes": MAX_EVENT_BYTES,
    "max_track_id_length": MAX_TRACK_ID_LENGTH,
    "max_event_id_length": MAX_EVENT_ID_LENGTH,
    "max_skew_micros": MAX_CLOCK_SKEW // timedelta(microseconds=1),
}

JUDGED: Final = """
CREATE TABLE records AS
WITH timed AS (
    SELECT *,
        TRY_CAST(replace(listen_time[1:19], 'T', ' ') AS TIMESTAMP) AS local_time,
        regexp_full_match(listen_time, $time_pattern) AS well_written,
        CAST(rpad(regexp_extract(listen_time, '[.]([0-9]{1,6})', 1), 6, '0') AS BIGINT) AS micros,
        regexp_extract(listen_time, '([+-])([0-9]{2}):([0-9]{2})$', ['sign', 'hours', 'minutes']) AS zone
    FROM sent
),
moments AS (
    SELECT *,
        CASE WHEN well_written THEN epoch_us(local_time) + micros
            - CASE zone.sign WHEN '' THEN 0 WHEN '-' THEN -1 ELSE 1 END
            * (coalesce(TRY_CAST(zone.hours AS BIGINT), 0) * 60 + coalesce(TRY_CAST(zone.minutes AS BIGINT), 0))
            * 60000000 END AS moment
    FROM timed
),
judged AS (
    SELECT *,
        CASE
            WHEN payload_bytes > $max_event_bytes THEN 'oversize'
            WHEN NOT valid_utf8 THEN 'invalid_utf8'
            WHEN user_id IS NULL OR track_id IS NULL OR listen_time IS NULL THEN 'missing_field'
            WHEN NOT is_integer(user_id) OR NOT is_integer(schema_version) OR NOT is_integer(played_ms)
                THEN 'wrong_type'
            WHEN length(track_id) > $max_track_id_length OR length(event_id) > $max_event_id_length
                THEN 'invalid_value'
            WHEN moment IS NULL THEN 'invalid_time'
            WHEN moment < epoch_us(TIMESTAMP '2000-01-01')
                OR moment > CAST(sent_at * 1000000 AS BIGINT) + $max_skew_micros THEN 'impossible_time'
        END AS reason
    FROM moments
)
SELECT position, 'replayed' AS kind, coalesce(reason, 'accepted') AS expected,
    CASE WHEN reason IS NULL THEN event_id END AS event_id,
    CASE WHEN reason IS NULL THEN TRY_CAST(user_id AS BIGINT) END AS user_id,
    CASE WHEN reason IS NULL THEN track_id END AS track_id,
    CASE WHEN reason IS NULL THEN moment END AS listen_time,
    shard_id, sequence_number, line, sent_at, acknowledged_at, tries, unanswered
FROM judged
"""

IS_INTEGER: Final = """
CREATE MACRO is_integer(text) AS
    text IS NULL OR (regexp_full_match(text, '[+-]?[0-9]+') AND TRY_CAST(text AS BIGINT) IS NOT NULL)
"""


def judge(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the table `records` from the raw texts in `sent`. One row per sent event."""
    connection.execute(IS_INTEGER)
    connection.execute(JUDGED, LIMITS)
