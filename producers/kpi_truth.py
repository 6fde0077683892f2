"""What must result from the events that were acknowledged, as SQL over `records`, `users` and `songs`.

Each statement makes the next table. Nothing here is shared with the pipeline: same rules, other engine, other words.
"""

from __future__ import annotations

from typing import Final

OUTCOMES: Final = """
CREATE TABLE outcomes AS
WITH placed AS (
    SELECT *,
        CASE
            WHEN listen_time IS NULL THEN expected
            WHEN user_id NOT IN (SELECT user_id FROM users WHERE user_id IS NOT NULL) THEN 'unknown_user'
            WHEN track_id NOT IN (SELECT track_id FROM songs) THEN 'unknown_track'
        END AS reason
    FROM records
),
ranked AS (
    SELECT position,
        row_number() OVER first_come AS arrival,
        first_value(user_id) OVER first_come AS first_user_id,
        first_value(track_id) OVER first_come AS first_track_id
    FROM placed
    WHERE shard_id IS NOT NULL AND reason IS NULL
    WINDOW first_come AS (
        PARTITION BY coalesce(event_id, 'derived|' || user_id || '|' || track_id), listen_time
        ORDER BY shard_id, length(sequence_number), sequence_number, line
    )
)
SELECT placed.* EXCLUDE (reason),
    CASE
        WHEN placed.shard_id IS NULL THEN NULL
        WHEN reason IS NOT NULL THEN reason
        WHEN (first_user_id, first_track_id) <> (user_id, track_id) THEN 'conflicting_duplicate'
        WHEN arrival > 1 THEN 'duplicate'
        ELSE 'accepted'
    END AS outcome
FROM placed LEFT JOIN ranked USING (position)
"""
"""One row per sent event; the outcome of one that is not acknowledged is null."""

VALID_LISTENS: Final = r"""
CREATE TABLE valid_listens AS
SELECT CAST(make_timestamp(listen_time) AS DATE) AS listen_date,
    user_id, track_id, track_name, artists, track_genre, duration_ms
FROM outcomes JOIN songs USING (track_id)
WHERE outcome = 'accepted'
    AND NOT regexp_full_match(coalesce(track_name, ''), '\s*')
    AND NOT regexp_full_match(coalesce(track_genre, ''), '\s*')
    AND coalesce(duration_ms, 0) > 0
"""
"""One row per listen that passes validation."""

GENRES: Final = """
CREATE TABLE genres AS
WITH sums AS (
    SELECT listen_date, track_genre, count(*) AS listen_count, count(DISTINCT user_id) AS unique_listeners,
        sum(duration_ms) AS total_listening_time_ms
    FROM valid_listens GROUP BY ALL
),
cents AS (
    SELECT *, total_listening_time_ms * 100 // unique_listeners AS floor_cents,
        total_listening_time_ms * 100 % unique_listeners * 2 AS twice_rest
    FROM sums
),
half_even AS (
    SELECT *, floor_cents + CASE
        WHEN twice_rest > unique_listeners OR (twice_rest = unique_listeners AND floor_cents % 2 = 1) THEN 1
        ELSE 0 END AS average_cents
    FROM cents
)
SELECT listen_date, track_genre, listen_count, unique_listeners, total_listening_time_ms,
    (average_cents // 100) || '.' || lpad(CAST(average_cents % 100 AS VARCHAR), 2, '0')
        AS avg_listening_time_per_user_ms
FROM half_even
"""
"""One row per (listen_date, track_genre)."""

TOP_SONGS: Final = """
CREATE TABLE top_songs AS
SELECT listen_date, track_genre, track_id, min(track_name) AS track_name, min(artists) AS artists,
    count(*) AS plays,
    row_number() OVER (PARTITION BY listen_date, track_genre ORDER BY count(*) DESC, track_id) AS rank
FROM valid_listens
GROUP BY listen_date, track_genre, track_id
QUALIFY rank <= 3
"""
"""One row per (listen_date, track_genre, rank)."""

TOP_GENRES: Final = """
CREATE TABLE top_genres AS
SELECT listen_date, track_genre, listen_count,
    row_number() OVER (PARTITION BY listen_date ORDER BY listen_count DESC, track_genre) AS rank
FROM genres
QUALIFY rank <= 5
"""
"""One row per (listen_date, rank)."""

STATEMENTS: Final = (OUTCOMES, VALID_LISTENS, GENRES, TOP_SONGS, TOP_GENRES)
