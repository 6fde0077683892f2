"""Compare each stage with the one before it: SQL over the tables of `schema`, one finding per minute or item."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from listenlake.audit.report import Finding
from listenlake.audit.schema import SUM

if TYPE_CHECKING:
    import duckdb

_DELIVERED: Final = """
SELECT minute, id FROM (
    SELECT place, minute, id, max(times) AS times
    FROM (SELECT generation, place, minute, id, count(*) AS times FROM ingested GROUP BY ALL)
    WHERE place IN (SELECT place FROM acknowledged) GROUP BY ALL
) JOIN range(1000) nth(n) ON n < times
"""
"""Deliveries of acknowledged events. A new checkpoint reads the stream again: of its copies one counts."""

_MERGEABLE: Final = """
SELECT DISTINCT minute, id FROM ingested
WHERE id IN (SELECT id FROM curated WHERE is_latest)
    OR (NOT pending AND NOT expired AND place NOT IN (SELECT place FROM enrichment_rejects))
"""
"""Listens that must be curated: of batches that are merged, each once, unless every delivery was rejected.

Of an old batch that can no longer be told: what is not curated may have been rejected."""

_REJECTED: Final = """
SELECT minute, id FROM acknowledged JOIN ingest_rejects USING (place) WHERE acknowledged.rejected
"""

STAGES: Final = {
    "acknowledged": f"SELECT count(*), {SUM} FROM acknowledged WHERE NOT rejected",
    "processed-streams and archives": f"SELECT count(*), {SUM} FROM ingested",
    "curated": f"SELECT count(*), {SUM} FROM curated WHERE is_latest",
    "kpis": f"SELECT count(*), {SUM} FROM (SELECT hash(listen_date, key, item) AS id FROM kpis WHERE stage = 'kpis')",
    "dynamodb": f"SELECT count(*), {SUM} FROM (SELECT hash(listen_date, key, item) AS id FROM kpis "
    "WHERE stage = 'dynamodb')",
}
"""Rows and hash sum of each stage. Of the KPIs they are items; equal sums of the last two are equal items."""

_BY_MINUTE: Final = {
    "processed-streams": ("SELECT minute, id FROM acknowledged WHERE NOT rejected", _DELIVERED),
    "bad-records": ("SELECT minute, id FROM acknowledged WHERE rejected", _REJECTED),
    "curated": (_MERGEABLE, "SELECT minute, id FROM curated WHERE is_latest"),
}
_NEEDS_TRUTH: Final = ("processed-streams", "bad-records")

_MINUTES: Final = """
WITH expected AS (SELECT minute, count(*) AS rows, {sum} AS ids FROM ({before}) GROUP BY minute),
    found AS (SELECT minute, count(*) AS rows, {sum} AS ids FROM ({after}) GROUP BY minute)
SELECT strftime(minute, '%Y-%m-%dT%H:%M'), coalesce(e.rows, 0), coalesce(f.rows, 0), coalesce(e.ids, 0),
    coalesce(f.ids, 0)
FROM expected e FULL JOIN found f USING (minute)
WHERE (e.rows, e.ids) IS DISTINCT FROM (f.rows, f.ids) ORDER BY minute
"""

_SUMS: Final = """
WITH listens AS (SELECT * FROM curated WHERE is_consumed AND valid),
    plays AS (SELECT listen_date, track_genre, track_id, count(*) AS plays FROM listens GROUP BY ALL),
    songs AS (
        SELECT listen_date, track_genre,
            string_agg(track_id || ' ' || plays, ', ' ORDER BY plays DESC, track_id) AS songs
        FROM (SELECT * FROM plays
            QUALIFY row_number() OVER (PARTITION BY listen_date, track_genre ORDER BY plays DESC, track_id) <= 3)
        GROUP BY ALL
    ),
    genres AS (
        SELECT listen_date, track_genre, count(*) AS listens, count(DISTINCT user_id) AS listeners,
            sum(duration_ms) AS total FROM listens GROUP BY ALL
    ),
    charts AS (
        SELECT listen_date, string_agg(track_genre || ' ' || listens, ', ' ORDER BY listens DESC, track_genre) AS chart
        FROM (SELECT * FROM genres
            QUALIFY row_number() OVER (PARTITION BY listen_date ORDER BY listens DESC, track_genre) <= 5)
        GROUP BY ALL
    )
SELECT listen_date, track_genre AS key,
    listens || ' listens, ' || listeners || ' listeners, ' || total || ' ms; ' || songs AS value
FROM genres JOIN songs USING (listen_date, track_genre)
UNION ALL SELECT listen_date, '', chart FROM charts
"""
"""The KPIs that the consumed listens must give, computed by DuckDB."""

_BY_ITEM: Final = {
    "kpis": (_SUMS, "SELECT listen_date, key, sums AS value FROM kpis WHERE stage = 'kpis'"),
    "dynamodb": (
        "SELECT listen_date, key, item AS value FROM kpis WHERE stage = 'kpis'",
        "SELECT listen_date, key, item AS value FROM kpis WHERE stage = 'dynamodb'",
    ),
}

_ITEMS: Final = """
WITH expected AS (SELECT listen_date, key, count(*) AS n, min(value) AS value FROM ({before}) GROUP BY ALL),
    found AS (SELECT listen_date, key, count(*) AS n, min(value) AS value FROM ({after}) GROUP BY ALL)
SELECT listen_date, key, coalesce(e.n, 0), coalesce(f.n, 0), e.value, f.value
FROM expected e FULL JOIN found f USING (listen_date, key)
WHERE (e.n, e.value) IS DISTINCT FROM (f.n, f.value) ORDER BY listen_date, key
"""


def find(connection: duckdb.DuckDBPyConnection, *, with_truth: bool) -> list[Finding]:
    """Return every minute and every item at which a stage differs from the one before it."""
    findings = []
    for stage, (before, after) in _BY_MINUTE.items():
        if stage in _NEEDS_TRUTH and not with_truth:
            continue
        query = _MINUTES.format(before=before, after=after, sum=SUM)
        for minute, expected, found, expected_ids, found_ids in connection.execute(query).fetchall():
            findings.append(
                Finding(
                    stage=stage,
                    at=minute,
                    what=_what(expected, found),
                    expected=str(expected),
                    found=str(found),
                    expected_hash=f"{expected_ids:016x}",
                    found_hash=f"{found_ids:016x}",
                )
            )
    for stage, (before, after) in _BY_ITEM.items():
        query = _ITEMS.format(before=before, after=after)
        for day, key, expected, found, wanted, value in connection.execute(query).fetchall():
            findings.append(
                Finding(
                    stage=stage,
                    at=day,
                    what=_what(expected, found),
                    expected=wanted or "nothing",
                    found=value or "nothing",
                    key=key or "top genres",
                )
            )
    return findings


def _what(expected: int, found: int) -> str:
    if found == expected:
        return "changed"
    if not expected:
        return "unexpected"
    return "lost" if found < expected else "doubled"
