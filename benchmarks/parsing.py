"""What the ingest rules cost: `parse_batches` in Spark against a bare `from_json`, which judges nothing."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from benchmarks.ingest_streams import EVENT
from benchmarks.sessions import session_without_cloud
from streaming_jobs.parsing import PARSED_DDL, parse_batches, placed

ROWS = 400_000
ROUNDS = 5
TYPED = (
    "event_id STRING, user_id BIGINT, track_id STRING, listen_time STRING, played_ms BIGINT, platform STRING, "
    "session_id STRING, broken STRING"
)


BAD_SHARES = (0, 5, 50, 100)
"""Per cent of the records that are bad, ten ways."""
BAD_WAYS = (
    '{"user_id":%d,"track_id":"t%06d","listen_time":"2024-06-25T05:44:44.001Z"',
    '{"user_id":"user %d","track_id":"t%06d","listen_time":"2024-06-25T05:44:44.001Z"}',
    '{"user_id":%d,"track_id":"t%06d"}',
    '{"user_id":%d,"track":"t%06d","listen_time":"2024-06-25T05:44:44.001Z"}',
    '{"user_id":%d,"track_id":"t%06d","listen_time":"25.06.2024"}',
    '{"user_id":%d,"user_id":1,"track_id":"t%06d","listen_time":"2024-06-25T05:44:44.001Z"}',
    '{"user_id":-%d,"track_id":"t%06d","listen_time":"2024-06-25T05:44:44.001Z"}',
    '[%d,"t%06d"]',
    '{"user_id":%d,"track_id":"t%06d","listen_time":"2024-06-25T05:44:44.001Z"}}',
    "user %d listened to %06d",
)


def measure_parsing() -> dict[str, float]:
    """Return rows a second on `local[2]`, for each share of bad records, and the clean ones' ratio to the bare parse.

    Medians of alternating rounds. A bad record costs what it takes to judge it and to keep it: `parse_over_clean_N` is
    the rate of records of which N per cent are bad, over the rate of clean ones.
    """
    with session_without_cloud(driver_memory="3g") as (spark, _):
        numbers = spark.range(ROWS, numPartitions=2)
        records = {share: _records(numbers, share).persist() for share in BAD_SHARES}
        for frame in records.values():
            frame.count()
        typed = F.from_json(F.col("data").cast("string"), TYPED, {"columnNameOfCorruptRecord": "broken"})
        seconds: dict[int | str, list[float]] = defaultdict(list)
        for _round in range(ROUNDS):
            for share, frame in records.items():
                seconds[share].append(_seconds(placed(frame).mapInArrow(parse_batches, PARSED_DDL)))
            seconds["bare"].append(_seconds(records[0].select(typed)))
    rate = {name: ROWS / statistics.median(taken) for name, taken in seconds.items()}
    return {
        "parse_rows_per_s": round(rate[0], 1),
        "bare_from_json_rows_per_s": round(rate["bare"], 1),
        "parse_over_bare": round(rate[0] / rate["bare"], 3),
        **{f"parse_over_clean_{share}": round(rate[share] / rate[0], 3) for share in BAD_SHARES if share},
    }


def _records(numbers: DataFrame, bad_share: int) -> DataFrame:
    user, track = F.col("id") % 50_000 + 1, F.col("id") % 9_000
    bad = F.element_at(
        F.array(*[F.format_string(way, user, track) for way in BAD_WAYS]), (F.col("id") % len(BAD_WAYS) + 1).cast("int")
    )
    good = F.format_string(EVENT, F.col("id"), user, track)
    # A hundred neighbours have each remainder once, so every task has its share.
    payload = F.when(F.col("id") * 37 % 100 < bad_share, bad).otherwise(good)
    return numbers.select(
        payload.cast("binary").alias("data"),
        F.lit("listens").alias("streamName"),
        F.lit("shardId-000000000000").alias("shardId"),
        F.lit("1").alias("partitionKey"),
        F.col("id").cast("string").alias("sequenceNumber"),
        F.lit("2024-06-26 00:00:00").cast("timestamp").alias("approximateArrivalTimestamp"),
    )


def _seconds(frame: DataFrame) -> float:
    began = time.perf_counter()
    frame.write.format("noop").mode("overwrite").save()
    return time.perf_counter() - began
