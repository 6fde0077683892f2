"""What a KPI run costs: for what came since the last one, for a day from its listens, and for DuckDB on the same files.

The whole run of the job is timed, with its commits and DynamoDB, on the local cloud; the start of Spark is not. N/100
new listens come to a day of N/10 that is the whole history, to the same day among eleven, and to a day of N.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from statistics import median
from typing import Any, Final

import duckdb
from pyspark.sql import Column, SparkSession
from pyspark.sql import functions as F

from batch_jobs import kpi_transformation
from benchmarks.sessions import copy_files, run_job_here, session_on_cloud, told
from lakehouse import layout
from lakehouse.delta import open_table
from lakehouse.lake_tables import LATEST
from lakehouse.settings import KpiSettings
from lakehouse.spark import schema_of
from lakehouse.tables import CURATED_LISTENS
from local_cloud.cloud import Cloud
from local_cloud.options import CloudOptions

ROUNDS: Final = 3
INCREMENTAL_ROUNDS: Final = 5
"""Every tenth run also writes checkpoints, so that its seconds are no median's."""
TRACKS: Final = 90_000
GENRES: Final = 114
LISTENS_PER_USER: Final = 10
HISTORY_DATES: Final = 10
SMALL, LARGE, FIRST_OF_HISTORY = date(2024, 6, 1), date(2024, 6, 2), date(2024, 1, 1)
KPIS: Final = """
WITH valid AS (
    SELECT * FROM read_parquet(?) WHERE user_id IS NOT NULL AND listen_time IS NOT NULL AND duration_ms > 0
        AND NOT regexp_full_match(coalesce(track_name, ''), '\\s*')
        AND NOT regexp_full_match(coalesce(track_genre, ''), '\\s*')
), tracks AS (
    SELECT track_genre, track_id, count(*) AS plays, min(track_name) AS track_name, min(artists) AS artists
    FROM valid GROUP BY ALL
), charts AS (
    SELECT track_genre, list({'track_id': track_id, 'plays': plays, 'track_name': track_name, 'artists': artists}
        ORDER BY place) AS top_songs
    FROM (SELECT *, row_number() OVER (PARTITION BY track_genre ORDER BY plays DESC, track_id) AS place FROM tracks)
    WHERE place <= 3 GROUP BY ALL
)
SELECT track_genre, count(*) AS listen_count, count(DISTINCT user_id) AS unique_listeners,
    sum(duration_ms)::BIGINT AS total_listening_time_ms, any_value(top_songs) AS top_songs
FROM valid JOIN charts USING (track_genre) GROUP BY ALL ORDER BY ALL
"""


@dataclass
class _Bench:
    """The job on one cloud, and the listens that are made for it."""

    cloud: Cloud
    spark: SparkSession
    users: int
    _made: int = 0
    facts: dict[str, Any] = field(default_factory=dict)

    def put(self, day: date, listens: int) -> None:
        """Append new listens of one date to the curated table."""
        uri = layout.uri(self.cloud.places.curated_bucket, layout.LATEST)
        open_table(self.spark, CURATED_LISTENS, uri)
        rows = self.spark.range(self._made, self._made + listens, 1, 4)
        self._made += listens
        rows.select(*_columns(day, self.users)).write.format("delta").mode("append").save(uri)

    def run(self, mode: str, **dates: date) -> float:
        """Run the job and return the seconds."""
        span = {"from_date": dates.get("first"), "to_date": dates.get("last")}
        began = time.monotonic()
        report = run_job_here(self.cloud, self.spark, KpiSettings, kpi_transformation.run, mode=mode, **span)
        self.facts = report.facts
        phases = ", ".join(f"{name} {seconds:.2f}" for name, seconds in report.seconds.items())
        return told(f"KPIs, {mode} ({phases})", began)

    def incremental(self, day: date, listens: int) -> float:
        """Return the median seconds of runs that each find new listens of one date."""

        def once() -> float:
            self.put(day, listens)
            return self.run("incremental")

        return _median(once, INCREMENTAL_ROUNDS)


def measure_kpis(listens: int) -> dict[str, float]:
    """Return seconds, ratios and counts of KPI runs at `listens` listens a day."""
    new = listens // 100
    with session_on_cloud(CloudOptions(driver_memory="3g")) as (cloud, spark, folder):
        bench = _Bench(cloud, spark, users=max(listens // LISTENS_PER_USER, 1))
        bench.put(SMALL, listens // 10)
        bench.run("incremental")
        bench.incremental(SMALL, new)
        small = bench.incremental(SMALL, new)
        for number in range(HISTORY_DATES):
            bench.put(FIRST_OF_HISTORY + timedelta(number), new)
        bench.run("incremental")
        long = bench.incremental(SMALL, new)
        bench.put(LARGE, listens)
        bench.run("incremental")
        large = bench.incremental(LARGE, new)
        changed, items = bench.facts["daily_listens_changed"], bench.facts["daily_listens_served"]
        recompute = _median(lambda: bench.run("recompute", first=LARGE, last=LARGE))
        drift = sum(bench.facts["drift"].values())
        by_duckdb = _duckdb(cloud, folder)
    return {
        "kpi_listens_a_day": listens,
        "kpi_new_listens": new,
        "incremental_s": round(large, 2),
        "recompute_s": round(recompute, 2),
        "duckdb_s": round(by_duckdb, 2),
        "incremental_over_recompute": round(large / recompute, 3),
        "incremental_growth_day_x10": round(large / long, 3),
        "incremental_growth_history_x10": round(long / small, 3),
        "recompute_over_duckdb": round(recompute / by_duckdb, 2),
        "items_written_over_changed": round(items["written"] / changed, 3),
        "drift": drift,
    }


def _median(once: Callable[[], float], rounds: int = ROUNDS) -> float:
    return median(once() for _ in range(rounds))


def _duckdb(cloud: Cloud, folder: Path) -> float:
    """Time the same KPIs of the large day on copies of the same files, with as many threads as Spark has."""
    files = copy_files(cloud, LATEST, folder / "listens", day=LARGE)
    with duckdb.connect() as connection:
        connection.execute("SET threads = 2")
        # The bar would come before the one line of JSON.
        connection.execute("SET enable_progress_bar = false")

        def once() -> float:
            began = time.monotonic()
            connection.execute(KPIS, [files]).fetchall()
            return told("KPIs by DuckDB", began)

        once()
        return _median(once)


def _columns(day: date, users: int) -> list[Column]:
    """Columns of `CURATED_LISTENS` for a frame of ids: users evenly, tracks by a skewed law."""

    def draw(seed: int, below: int) -> Column:
        return F.pmod(F.xxhash64("id", F.lit(seed)), F.lit(below))

    track = F.floor(F.pow(draw(1, 1_000_000) / 1_000_000, 2.5) * TRACKS).cast("bigint")
    seconds = draw(2, 86_400_000) / 1_000
    values = {
        "listen_date": F.lit(day.isoformat()).cast("date"),
        "event_id": F.concat(F.lit("event-"), F.lpad(F.hex("id"), 16, "0")),
        "user_id": draw(3, users),
        "track_id": F.concat(F.lit("track-"), F.lpad(F.hex(track), 16, "0")),
        "listen_time": F.timestamp_micros(
            (F.unix_micros(F.lit(day.isoformat()).cast("timestamp")) + seconds * 1e6).cast("bigint")
        ),
        "track_name": F.concat(F.lit("name of track "), track),
        "artists": F.concat(F.lit("artist "), track % 20_000),
        "track_genre": F.concat(F.lit("genre "), track % GENRES),
        "duration_ms": 150_000 + track * 7 % 100_000,
        "user_country": F.lit("Ghana"),
    }
    wanted = schema_of(CURATED_LISTENS)
    return [values.get(one.name, F.lit(None)).cast(one.dataType).alias(one.name) for one in wanted]
