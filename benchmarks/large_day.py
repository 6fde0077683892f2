"""A day of millions of listens through both batch jobs at once, and its KPIs against DuckDB's.

The deliveries lie in `processed-streams/` as micro-batches of a quarter of a million, one in a hundred twice, on the
local cloud. Both jobs run in one session whose start is not timed. Every row of `daily_listens` is compared.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from batch_jobs import batch_transform, kpi_transformation
from benchmarks.batch_kpis import KPIS
from benchmarks.sessions import copy_files, run_job_here, session_on_cloud, told
from lakehouse import layout
from lakehouse.batches import BatchFile, BatchId, Manifest, commit_manifest
from lakehouse.jobs import Report
from lakehouse.lake_tables import DAILY_LISTENS, LATEST
from lakehouse.settings import KpiSettings, TransformSettings
from local_cloud.cloud import Cloud
from local_cloud.options import CloudOptions
from producers.catalog import Catalog, build_catalog, write_catalog

DAY: Final = date(2024, 6, 25)
ROWS: Final = 250_000
REPEATED: Final = 100
"""One delivery of so many is sent again in the next micro-batch."""
USERS: Final = 100_000
SONGS: Final = 90_000
SEED: Final = 7


def measure_large_day(listens: int) -> dict[str, float]:
    """Return the seconds of both jobs, and how many genres have other KPIs than DuckDB's.

    Args:
        listens: Listens of the day, without those that are delivered again.
    """
    with session_on_cloud(CloudOptions(driver_memory="6g")) as (cloud, spark, folder):
        catalog = build_catalog(SEED, users=USERS, songs=SONGS)
        write_catalog(catalog, folder)
        s3 = cloud.client("s3")
        for key in (layout.USERS_KEY, layout.SONGS_KEY):
            s3.upload_file(str(folder / key), cloud.places.raw_bucket, key)
        # The jobs are run here, once each, and not by the trigger.
        s3.put_bucket_notification_configuration(Bucket=cloud.places.raw_bucket, NotificationConfiguration={})
        delivered = _deliver(cloud, catalog, listens)
        merge = partial(run_job_here, cloud, spark, TransformSettings, batch_transform.run)
        compute = partial(run_job_here, cloud, spark, KpiSettings, kpi_transformation.run)
        merged_in, merged = _timed("merge", merge)
        computed_in, _ = _timed("KPIs", compute)
        wanted = _by_duckdb(copy_files(cloud, LATEST, folder / "latest"))
        published = _published(copy_files(cloud, DAILY_LISTENS, folder / "daily"))
    return {
        "large_day_listens": listens,
        "large_day_deliveries": delivered,
        "large_day_accepted": merged["accepted"],
        "large_day_duplicates": merged["duplicates"],
        "large_day_transform_s": round(merged_in, 1),
        "large_day_kpis_s": round(computed_in, 1),
        "large_day_genres": len(wanted),
        "large_day_genres_differing": sum(wanted.get(one) != published.get(one) for one in {*wanted, *published}),
    }


def _timed(what: str, work: Callable[[], Report]) -> tuple[float, dict[str, Any]]:
    began = time.monotonic()
    report = work()
    return told(what, began), report.facts


def _deliver(cloud: Cloud, catalog: Catalog, listens: int) -> int:
    """Commit micro-batches that hold the listens of the day, and return their rows."""
    s3, bucket = cloud.client("s3"), cloud.places.raw_bucket
    rng = np.random.default_rng(SEED)
    repeated: pa.Table | None = None
    delivered = 0
    for number, first in enumerate(range(0, listens, ROWS)):
        fresh = _deliveries(rng, catalog, range(first, min(first + ROWS, listens)))
        table = fresh if repeated is None else pa.concat_tables([fresh, repeated])
        repeated = fresh.slice(0, len(fresh) // REPEATED)
        batch = BatchId("large-day", str(number))
        key, body = f"{layout.PROCESSED}{batch.path}attempt=a/part-0.snappy.parquet", io.BytesIO()
        pq.write_table(table, body, coerce_timestamps="us")
        etag = s3.put_object(Bucket=bucket, Key=key, Body=body.getvalue())["ETag"]
        file = BatchFile(key, len(body.getvalue()), etag)
        committed_at = _moment(DAY) + timedelta(days=1, seconds=number)
        commit_manifest(
            s3,
            bucket,
            Manifest(id=batch, attempt="attempt=a", files=(file,), rows=len(table), committed_at=committed_at),
        )
        delivered += len(table)
    return delivered


def _deliveries(rng: np.random.Generator, catalog: Catalog, numbers: range) -> pa.Table:
    """Return one delivery a number: `PROCESSED_LISTENS`; tracks by a skewed law, times anywhere on the day."""
    rows = len(numbers)
    users, tracks = np.array(catalog.user_ids), np.array(catalog.track_ids)
    micros = int(_moment(DAY).timestamp()) * 1_000_000 + rng.integers(0, 86_400_000_000, rows)
    arrival = pa.scalar(_moment(DAY) + timedelta(days=1), pa.timestamp("us", tz="UTC"))
    columns: dict[str, Any] = {
        "event_id": [f"{number:032x}" for number in numbers],
        "user_id": users[rng.integers(0, len(users), rows)],
        "track_id": tracks[(rng.random(rows) ** 2.5 * len(tracks)).astype(int)],
        "listen_time": pa.array(micros, pa.timestamp("us", tz="UTC")),
        "stream": pa.repeat("large-day", rows),
        "shard_id": pa.repeat("shardId-000000000000", rows),
        "sequence_number": [str(number) for number in numbers],
        "line": pa.repeat(pa.scalar(1, pa.int32()), rows),
        "arrived_at": pa.repeat(arrival, rows),
    }
    return pa.table(columns)


def _by_duckdb(files: list[str]) -> dict[str, Any]:
    """Return, by genre, what DuckDB makes of the curated listens."""
    with duckdb.connect() as connection:
        connection.execute("SET enable_progress_bar = false")
        return {genre: tuple(values) for genre, *values in connection.execute(KPIS, [files]).fetchall()}


def _published(files: list[str]) -> dict[str, Any]:
    """Return, by genre, the same columns of `daily_listens`."""
    names = ("listen_count", "unique_listeners", "total_listening_time_ms")
    rows = [row for file in files for row in pq.ParquetFile(file).read().to_pylist()]
    order = ("track_id", "plays", "track_name", "artists")
    return {
        row["track_genre"]: (
            *[row[name] for name in names],
            [{name: song[name] for name in order} for song in row["top_songs"]],
        )
        for row in rows
    }


def _moment(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
