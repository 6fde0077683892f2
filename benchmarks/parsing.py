"""What the ingest rules cost in Spark: `parse_batches` against a bare `from_json`, and bad events against good ones."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from benchmarks.bad_events import BAD_SHARES, in_batches, mixed, write_outcome
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
    """Return rows a second of good events on `local[2]`, their ratio to the bare parse, and what bad ones cost.

    `bad_over_good_N` is the time of events of which N per cent are bad, over the time of good events of as many bytes,
    from records in the JVM to the bytes of the micro-batch's files. Medians of rounds, in which all follow each other.
    """
    good = [event(number) for number in range(EVENTS)]
    with session_without_cloud(driver_memory="3g") as (spark, folder):
        events = {share: good if not share else mixed(good, share) for share in (0, *BAD_SHARES)}
        records = {share: _records(spark, folder / f"{share}", some) for share, some in events.items()}
        typed = F.from_json(F.col("data").cast("string"), TYPED, {"columnNameOfCorruptRecord": "broken"})
        actions = {
            "judged": records[0].mapInArrow(parse_batches, PARSED_DDL),
            "bare": records[0].select(typed),
            **{f"{share}": frame.mapInArrow(_written, "bytes BIGINT") for share, frame in records.items()},
        }
        rounds: list[dict[str, float]] = [
            {name: _seconds(frame) for name, frame in actions.items()} for _ in range(ROUNDS)
        ]
    seconds = {name: statistics.median(one[name] for one in rounds) for name in actions}
    size = {share: sum(map(len, some)) for share, some in events.items()}
    return {
        "parse_rows_per_s": round(EVENTS / seconds["judged"], 1),
        "bare_from_json_rows_per_s": round(EVENTS / seconds["bare"], 1),
        "parse_over_bare": round(seconds["bare"] / seconds["judged"], 3),
        **{
            f"bad_over_good_{share}": round(
                statistics.median(one[f"{share}"] / one["0"] for one in rounds) * size[0] / size[share], 3
            )
            for share in BAD_SHARES
        },
    }


def _written(records: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield pa.RecordBatch.from_pydict({"bytes": [write_outcome(records)]})


def _records(spark: SparkSession, folder: Path, events: list[bytes]) -> DataFrame:
    """Records in the JVM's memory, half of them for each core. One row per event."""
    folder.mkdir()
    for half in (0, 1):
        pq.write_table(pa.Table.from_batches(in_batches(events[half::2])), folder / f"{half}.parquet")
    frame = spark.read.parquet(f"file:{folder}").persist()
    frame.count()
    return frame


def _seconds(frame: DataFrame) -> float:
    began = time.perf_counter()
    frame.write.format("noop").mode("overwrite").save()
    return time.perf_counter() - began
