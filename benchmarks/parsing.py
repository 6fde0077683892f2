"""What the ingest rules cost in Spark: `parse_batches` against a bare `from_json`."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from benchmarks.bad_events import in_batches
from benchmarks.ingest_streams import event
from benchmarks.sessions import session_without_cloud
from streaming_jobs.parsing import PARSED_DDL, parse_batches

EVENTS: Final = 300_000
ROUNDS: Final = 7
TYPED: Final = (
    "event_id STRING, user_id BIGINT, track_id STRING, listen_time STRING, played_ms BIGINT, platform STRING, "
    "session_id STRING, broken STRING"
)


def measure_parsing() -> dict[str, float]:
    """Return rows a second of good events on `local[2]`, and their ratio to the bare parse.

    Medians of rounds, in which one follows the other.
    """
    with session_without_cloud(driver_memory="3g") as (spark, folder):
        records = _records(spark, folder)
        typed = F.from_json(F.col("data").cast("string"), TYPED, {"columnNameOfCorruptRecord": "broken"})
        actions = {"judged": records.mapInArrow(parse_batches, PARSED_DDL), "bare": records.select(typed)}
        rounds: list[dict[str, float]] = [
            {name: _seconds(frame) for name, frame in actions.items()} for _ in range(ROUNDS)
        ]
    seconds = {name: statistics.median(one[name] for one in rounds) for name in actions}
    return {
        "parse_rows_per_s": round(EVENTS / seconds["judged"], 1),
        "bare_from_json_rows_per_s": round(EVENTS / seconds["bare"], 1),
        "parse_over_bare": round(seconds["bare"] / seconds["judged"], 3),
    }


def _records(spark: SparkSession, folder: Path) -> DataFrame:
    """Records in the JVM's memory, half of them for each core. One row per event."""
    for half in (0, 1):
        events = [event(number) for number in range(half, EVENTS, 2)]
        pq.write_table(pa.Table.from_batches(in_batches(events)), folder / f"{half}.parquet")
    frame = spark.read.parquet(f"file:{folder}").persist()
    frame.count()
    return frame


def _seconds(frame: DataFrame) -> float:
    began = time.perf_counter()
    frame.write.format("noop").mode("overwrite").save()
    return time.perf_counter() - began
