"""How long ingestion takes to catch up after an outage, while events keep coming at the rate they came at before.

A sender works at a steady rate through an outage in which nobody reads, and on. Then the source starts, at the pace
that Kinesis allows a shard, and the clock runs until a batch ends less than a second behind the tip of each shard.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
import uuid
from pathlib import Path
from typing import Any, Final

from lakehouse.spark import build_session
from local_cloud import lifecycle
from local_cloud.cloud import Cloud
from local_cloud.options import CloudOptions
from streaming_jobs.kinesis_source import KinesisSource, latest_progress

STREAM: Final = "catching-up"
SHARDS: Final = 2
OUTAGE_SECONDS: Final = 30.0
RECORD_BYTES: Final = 25_000
RECORDS_PER_SECOND: Final = 32
"""Over all shards: 0.4 of the megabyte a second that one shard takes, and 100 events of 250 bytes in each record."""
CAUGHT_UP_MILLIS: Final = 1_000
PATIENCE_SECONDS: Final = 120.0


def measure_catching_up() -> dict[str, float]:
    """Return the seconds to catch up after an outage, and their ratio to the outage's."""
    with tempfile.TemporaryDirectory() as folder, lifecycle.up(Path(folder) / "cloud", options=CloudOptions()) as cloud:
        os.environ |= cloud.environment
        kinesis = cloud.client("kinesis")
        kinesis.create_stream(StreamName=STREAM, ShardCount=SHARDS)
        kinesis.get_waiter("stream_exists").wait(StreamName=STREAM, WaiterConfig={"Delay": 1})
        stop = threading.Event()
        sender = threading.Thread(target=_send, args=(kinesis, stop))
        spark = build_session("benchmarks")
        sender.start()
        try:
            time.sleep(OUTAGE_SECONDS)
            seconds = _catch_up(spark, cloud, Path(folder))
        finally:
            stop.set()
            sender.join()
            spark.stop()
    return {
        "catch_up_s": round(seconds, 1),
        "catch_up_outage_s": OUTAGE_SECONDS,
        "catch_up_over_outage": round(seconds / OUTAGE_SECONDS, 3),
    }


def _send(kinesis: Any, stop: threading.Event) -> None:
    """Send on the beat, whatever a call takes."""
    due = time.monotonic()
    while not stop.is_set():
        entries = [
            {"Data": os.urandom(RECORD_BYTES), "PartitionKey": uuid.uuid4().hex} for _ in range(RECORDS_PER_SECOND)
        ]
        kinesis.put_records(StreamName=STREAM, Records=entries)
        due += 1.0
        stop.wait(max(0.0, due - time.monotonic()))


def _catch_up(spark: Any, cloud: Cloud, folder: Path) -> float:
    spark.dataSource.register(KinesisSource)
    journal = f"file:{folder}/journal"
    began = time.monotonic()
    query = (
        spark.readStream.format(KinesisSource.name())
        .options(streamName=STREAM, endpointUrl=cloud.record.endpoint, progressLocation=journal)
        .load()
        .writeStream.format("parquet")
        .option("checkpointLocation", f"file:{folder}/checkpoint")
        .trigger(processingTime="1 second")
        .start(f"file:{folder}/records")
    )
    try:
        while True:
            progress = latest_progress(journal)
            committed = query.lastProgress
            if progress is not None and committed is not None and progress.millis_behind < CAUGHT_UP_MILLIS:
                return time.monotonic() - began
            failure = query.exception()
            if failure is not None:
                raise failure
            if time.monotonic() - began > PATIENCE_SECONDS:
                raise AssertionError(f"expected the tip within {PATIENCE_SECONDS} s, found {progress}")
            time.sleep(0.2)
    finally:
        query.stop()
