"""The KPIs by other means: DuckDB over the curated listens, against the rows of the presentation tables."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import duckdb
import pyarrow as pa

from lakehouse import lake_tables
from tests.integration.laboratory import Lab
from tests.integration.records import Row, without

PROVENANCE: Final = ("curated_version", "run_id", "computed_at")
KPIS: Final = """
WITH tracks AS (
    SELECT listen_date, track_genre, track_id, count(*) AS plays, min(track_name) AS track_name, min(artists) AS artists
    FROM listens GROUP BY ALL
), charts AS (
    SELECT listen_date, track_genre, list({'rank': place::INT, 'track_id': track_id, 'track_name': track_name,
        'artists': artists, 'plays': plays} ORDER BY place) AS top_songs
    FROM (SELECT *, row_number() OVER (PARTITION BY listen_date, track_genre ORDER BY plays DESC, track_id) AS place
        FROM tracks)
    WHERE place <= 3 GROUP BY ALL
)
SELECT listen_date, track_genre, count(*) AS listen_count, count(DISTINCT user_id) AS unique_listeners,
    sum(duration_ms)::BIGINT AS total_listening_time_ms, any_value(top_songs) AS top_songs
FROM listens JOIN charts USING (listen_date, track_genre) GROUP BY ALL ORDER BY ALL
"""
CHARTS: Final = """
WITH counted AS (
    SELECT listen_date, track_genre, count(*) AS listen_count FROM listens GROUP BY ALL
), ranked AS (
    SELECT *, row_number() OVER (PARTITION BY listen_date ORDER BY listen_count DESC, track_genre) AS place FROM counted
)
SELECT listen_date, list({'rank': place::INT, 'track_genre': track_genre, 'listen_count': listen_count} ORDER BY place)
    AS top_genres
FROM ranked WHERE place <= 5 GROUP BY ALL ORDER BY ALL
"""


def by_duckdb(curated: list[Row]) -> tuple[list[Row], list[Row]]:
    """The rows of both presentation tables, without provenance."""
    names = ("listen_date", "track_genre", "track_id", "track_name", "artists", "user_id", "duration_ms")
    with duckdb.connect() as connection:
        connection.register("listens", pa.Table.from_pylist([{name: row[name] for name in names} for row in curated]))
        genres, charts = (_rows(connection.execute(query)) for query in (KPIS, CHARTS))
    for row in genres:
        # Python rounds a fraction half to even.
        mean = Decimal(row["total_listening_time_ms"]) / row["unique_listeners"]
        row["avg_listening_time_per_user_ms"] = mean.quantize(Decimal("0.01"))
    return genres, charts


def _rows(found: duckdb.DuckDBPyConnection) -> list[Row]:
    names = [column[0] for column in found.description or ()]
    return [dict(zip(names, values, strict=True)) for values in found.fetchall()]


def presented(lab: Lab) -> tuple[list[Row], list[Row]]:
    tables = (lake_tables.DAILY_LISTENS, lake_tables.TOP_GENRES)
    genres, charts = (
        without(lab.delta_rows(lab.places.presentation_bucket, table.prefix), *PROVENANCE, "_change_type")
        for table in tables
    )
    return (
        sorted(genres, key=lambda row: (row["listen_date"], row["track_genre"])),
        sorted(charts, key=lambda row: row["listen_date"]),
    )
