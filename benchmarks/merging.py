"""What the MERGE costs: against a plain append of the same rows, and as the day or the history grows.

Delta tables on the local disk, `local[2]`. A day lies in files that follow each other in time. What is timed of a
merge into it is all that the job does with a tenth of a day of new deliveries: finding what they reach over, telling
duplicates apart, the MERGE. They are the next slice of the day (`merge_growth_day_x10`), or lie anywhere on it, so that
no file of the day can be passed over (`merge_growth_scattered_day_x10`). Tables that are compared take turns: what the
machine and the JVM's compiler do to one, they do to the others. No merge of a slice is a tenth commit, which would also
write a checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Final

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from batch_jobs.enrichment import curated_listens, with_dimensions
from batch_jobs.merging import merge_new
from batch_jobs.outcomes import decided
from benchmarks.sessions import session_without_cloud, told
from lakehouse.delta import open_table
from lakehouse.jobs import Report
from lakehouse.tables import CURATED_LISTENS, KNOWN_SONGS, KNOWN_USERS

ROUNDS: Final = 3
SLICE_ROUNDS: Final = 5
FILLED: Final = 0.99
"""As much of a day is there; the rest is left to what comes."""
WHOLE_DAY: Final = (0.0, 1.0)
LISTENS: Final = 1_000_000
SLICES: Final = 10
HISTORY_DATES: Final = 10
USERS: Final = 100_000
TRACKS: Final = 20_000
DAY, LARGE_DAY, HISTORY = date(2024, 6, 1), date(2024, 6, 2), date(2024, 1, 1)
DAY_SECONDS: Final = 86_400


@dataclass
class _Bench:
    """Delta tables in one folder, and the listens that are made for them."""

    spark: SparkSession
    folder: Path
    users: DataFrame
    songs: DataFrame
    new: int
    made: int = 0
    rewritten: int = 0

    def deliveries(self, day: date, rows: int, *, begin: float = 0.0, end: float = 1.0) -> DataFrame:
        """Return new deliveries between two fractions of a day, held in memory."""
        held = self._fresh(day, rows, begin, end).persist()
        held.count()
        return held

    def _fresh(self, day: date, rows: int, begin: float, end: float) -> DataFrame:
        numbers = self.spark.range(self.made, self.made + rows, 1, 2)
        self.made += rows
        return numbers.select(*_delivery(day, begin, end))

    def merge(self, table: str, deliveries: DataFrame) -> float:
        """Merge deliveries as the job does and return the seconds."""
        began = time.monotonic()
        latest = open_table(self.spark, CURATED_LISTENS, str(self.folder / table))
        with decided(deliveries, users=self.users, songs=self.songs, latest=latest.toDF(), report=Report()) as decision:
            merge_new(latest, curated_listens(decision.outcomes), decision.spans)
        seconds = told(f"merge into {table}", began)
        [row] = latest.history(1).select("operationMetrics").collect()
        self.rewritten += int(row["operationMetrics"]["numTargetFilesRemoved"])
        return seconds

    def fill(self, table: str, day: date, rows: int) -> None:
        """Write a day in files that follow each other in time, as a stream's merges leave them."""
        uri = str(self.folder / table)
        open_table(self.spark, CURATED_LISTENS, uri)
        began = time.monotonic()
        deliveries = self._fresh(day, rows, 0.0, FILLED)
        listens = with_dimensions(deliveries, users=self.users, songs=self.songs).select(*CURATED_LISTENS.columns)
        in_slices = listens.repartitionByRange(SLICES, "listen_time")
        in_slices.write.format("delta").mode("append").save(uri)
        told(f"{rows:,} listens of {day} put into {table}", began)

    def median_merges(self, days: Mapping[str, date], parts: Sequence[tuple[float, float]]) -> dict[str, float]:
        """Return, by table, the median seconds of merges into its day: `new` deliveries of each part of it."""
        seconds: dict[str, list[float]] = {table: [] for table in days}
        for begin, end in parts:
            for table, day in days.items():
                fresh = self.deliveries(day, self.new, begin=begin, end=end)
                seconds[table].append(self.merge(table, fresh))
                fresh.unpersist()
        return {table: median(some) for table, some in seconds.items()}


def measure_merging(listens: int = LISTENS) -> dict[str, float]:
    """Return rates and ratios with days of `listens` and of ten times as many; medians of several rounds."""
    with session_without_cloud(driver_memory="3g") as (spark, folder):
        users, songs = (frame.persist() for frame in _dimensions(spark))
        bench = _Bench(spark, folder, users, songs, new=listens // 10)
        return _into_an_empty_day(bench, listens) | _as_the_table_grows(bench, listens)


def _into_an_empty_day(bench: _Bench, rows: int) -> dict[str, float]:
    with decided(
        bench.deliveries(DAY, rows),
        users=bench.users,
        songs=bench.songs,
        latest=open_table(bench.spark, CURATED_LISTENS, str(bench.folder / "empty")).toDF(),
        report=Report(),
    ) as decision:
        listens = curated_listens(decision.outcomes).persist()
        listens.count()
        merged, appended = [], []
        for number in range(ROUNDS):
            uri = str(bench.folder / f"appended-{number}")
            open_table(bench.spark, CURATED_LISTENS, uri)
            began = time.monotonic()
            listens.write.format("delta").mode("append").save(uri)
            appended.append(told("append to an empty table", began))
            latest = open_table(bench.spark, CURATED_LISTENS, str(bench.folder / f"merged-{number}"))
            began = time.monotonic()
            merge_new(latest, listens, decision.spans)
            merged.append(told("merge into an empty table", began))
        listens.unpersist()
    return {
        "merge_rows_per_s": round(rows / median(merged), 1),
        "append_rows_per_s": round(rows / median(appended), 1),
        "merge_over_append": round(median(appended) / median(merged), 3),
    }


def _as_the_table_grows(bench: _Bench, rows: int) -> dict[str, float]:
    days = {"small": DAY, "long": DAY, "large": LARGE_DAY}
    for number in range(HISTORY_DATES - 1):
        bench.fill("long", HISTORY + timedelta(number), rows)
    for table, day in days.items():
        bench.fill(table, day, rows * 10 if table == "large" else rows)
    # The first one warms up.
    cuts = [FILLED + (1 - FILLED) * number / (SLICE_ROUNDS + 1) for number in range(SLICE_ROUNDS + 2)]
    first, *others = pairwise(cuts)
    bench.median_merges(days, [first])
    slices = bench.median_merges(days, others)
    scattered = bench.median_merges({table: days[table] for table in ("small", "large")}, [WHOLE_DAY] * ROUNDS)
    return {
        "merge_new_listens": bench.new,
        "merge_new_s": round(slices["small"], 2),
        "merge_growth_day_x10": round(slices["large"] / slices["small"], 3),
        "merge_growth_scattered_day_x10": round(scattered["large"] / scattered["small"], 3),
        "merge_growth_history_x10": round(slices["long"] / slices["small"], 3),
        "untouched_files_rewritten": bench.rewritten,
    }


def _dimensions(spark: SparkSession) -> tuple[DataFrame, DataFrame]:
    """Return users and songs. One row per user_id, and one per track_id."""
    users = {"user_id": F.col("id"), "user_age": (F.col("id") % 60 + 16).cast("int"), "user_country": F.lit("Ghana")}
    songs = {
        "track_id": _track(F.col("id")),
        "track_name": F.format_string("name %d", "id"),
        "artists": F.format_string("artist %d", F.col("id") % 5_000),
        "album_name": F.format_string("album %d", F.col("id") % 9_000),
        "track_genre": F.format_string("genre %d", F.col("id") % 114),
        "popularity": (F.col("id") % 100).cast("int"),
        "duration_ms": F.col("id") % 300_000 + 1,
        "explicit": F.col("id") % 10 == 0,
    }
    return (
        spark.range(USERS).select(*[users[name].alias(name) for name in KNOWN_USERS.columns]),
        spark.range(TRACKS).select(*[songs[name].alias(name) for name in KNOWN_SONGS.columns]),
    )


def _track(number: Column) -> Column:
    return F.format_string("%022d", number)


def _delivery(day: date, begin: float, end: float) -> list[Column]:
    """Return the columns of one delivery a number: a listen of its own, at a time that the number's hash picks."""
    midnight = F.unix_micros(F.lit(day).cast("timestamp"))
    share = F.lit(begin) + (F.xxhash64("id", F.lit("time")) % 1_000_000 + 1_000_000) / 2_000_000 * (end - begin)
    return [
        F.format_string("%016x%016x", F.xxhash64("id"), F.xxhash64("id", F.lit("event"))).alias("event_id"),
        F.pmod(F.xxhash64("id", F.lit("user")), F.lit(USERS)).alias("user_id"),
        _track(F.pmod(F.xxhash64("id", F.lit("track")), F.lit(TRACKS))).alias("track_id"),
        F.timestamp_micros((midnight + share * DAY_SECONDS * 1_000_000).cast("bigint")).alias("listen_time"),
        F.lit(30_000).cast("bigint").alias("played_ms"),
        F.lit("ios").alias("platform"),
        F.lit("s-1").alias("session_id"),
        F.lit(None).cast("map<string,string>").alias("extra"),
        F.lit("shardId-000000000000").alias("shard_id"),
        F.col("id").cast("string").alias("sequence_number"),
        F.lit(1).alias("line"),
        F.timestamp_micros(midnight + DAY_SECONDS * 1_000_000).alias("arrived_at"),
        F.lit("generation=bench/batch=0/").alias("batch"),
        F.lit(None).cast("string").alias("reject_reason"),
    ]
