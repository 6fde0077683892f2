"""The KPIs: pure, frames in, frames out; exact, never approximate, and the same bits for the same listens."""

from __future__ import annotations

from typing import Final

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from batch_jobs.partials import plays, unique_listeners

SONGS_IN_CHART: Final = 3

_GENRE_DAY: Final = ["listen_date", "track_genre"]


def daily_genre_kpis(partials: DataFrame) -> DataFrame:
    """Derive the KPIs, from integers only.

    Args:
        partials: Partials of whole days, since listeners are distinct over the day; each key once.

    Returns:
        One row per (listen_date, track_genre): the value columns of `DAILY_GENRE_KPIS`.
    """
    order = Window.partitionBy(*_GENRE_DAY).orderBy(F.col("plays").desc(), F.col("track_id").asc())
    ranked = plays(partials).withColumn("rank", F.row_number().over(order))
    entry = F.struct("rank", "track_id", "track_name", "artists", "plays")
    of_tracks = ranked.groupBy(*_GENRE_DAY).agg(
        F.sum("plays").alias("listen_count"),
        F.sum("listening_time_ms").alias("total_listening_time_ms"),
        F.array_sort(F.collect_list(F.when(F.col("rank") <= SONGS_IN_CHART, entry))).alias("top_songs"),
    )
    joined = of_tracks.join(unique_listeners(partials), on=_GENRE_DAY, how="inner")
    average = half_even_quotient(F.col("total_listening_time_ms"), F.col("unique_listeners"))
    return joined.select(
        *_GENRE_DAY,
        "listen_count",
        "unique_listeners",
        "total_listening_time_ms",
        average.alias("avg_listening_time_per_user_ms"),
        "top_songs",
    )


def half_even_quotient(total: Column, parts: Column) -> Column:
    """Divide two positive integers to two decimals, ties to the even hundredth, in integers: DECIMAL(20,2).

    A decimal division would round twice, first to its own scale, and could turn a near-tie into a tie.
    """
    hundred = F.lit(100).cast("bigint")
    floor = F.call_function("div", total * hundred, parts)
    rest = (total * hundred) % parts
    up = (rest * 2 > parts) | ((rest * 2 == parts) & (floor % 2 == 1))
    hundredths = (floor + up.cast("bigint")).cast("decimal(18,0)")
    return (hundredths * F.lit("0.01").cast("decimal(3,2)")).cast("decimal(20,2)")
