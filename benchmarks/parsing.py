"""What the ingest rules cost: `parse_records` against a bare `from_json` of the same bytes, which judges nothing."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakehouse.spark import build_session
from local_cloud.options import CloudOptions
from local_cloud.spark_conf import write_spark_conf
from local_cloud.state import PROJECT
from local_cloud.toolchain import Toolchain
from streaming_jobs.parsing import parse_records

ROWS = 400_000
ROUNDS = 5
TYPED = (
    "event_id STRING, user_id BIGINT, track_id STRING, listen_time STRING, played_ms BIGINT, platform STRING, "
    "session_id STRING, broken STRING"
)
EVENT = (
    '{"event_id":"%032x","user_id":%d,"track_id":"t%06d","listen_time":"2024-06-25T05:44:44.001Z",'
    '"played_ms":12345,"platform":"ios","session_id":"s-1234567"}'
)


def measure_parsing() -> dict[str, float]:
    """Return rows a second on `local[2]` and the ratio to the bare parse; medians of alternating rounds."""
    tools = Toolchain.load(PROJECT / ".tools")
    with tempfile.TemporaryDirectory() as folder:
        conf = write_spark_conf(
            Path(folder), endpoint="http://127.0.0.1:9", jars=tools.jars, options=CloudOptions(driver_memory="2g")
        )
        os.environ |= {
            "SPARK_CONF_DIR": str(conf),
            "JAVA_HOME": str(tools.java_home),
            "PYSPARK_PYTHON": sys.executable,
        }
        spark = build_session("benchmarks")
        records = _records(spark.range(ROWS, numPartitions=2)).persist()
        records.count()
        bare = records.select(F.from_json(F.col("data").cast("string"), TYPED, {"columnNameOfCorruptRecord": "broken"}))
        ours, theirs = [], []
        for _ in range(ROUNDS):
            ours.append(_seconds(parse_records(records)))
            theirs.append(_seconds(bare))
        spark.stop()
    rate, bare_rate = ROWS / statistics.median(ours), ROWS / statistics.median(theirs)
    return {
        "parse_rows_per_s": round(rate, 1),
        "bare_from_json_rows_per_s": round(bare_rate, 1),
        "parse_over_bare": round(rate / bare_rate, 3),
    }


def _records(numbers: DataFrame) -> DataFrame:
    event = F.format_string(EVENT, F.col("id"), F.col("id") % 50_000, F.col("id") % 9_000)
    return numbers.select(
        event.cast("binary").alias("data"),
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
