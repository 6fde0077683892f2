"""The streaming job's own source and sink on a stream of the local cloud, in a session that is warm."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from benchmarks.ingest_streams import SHARDS
from benchmarks.spending import Spent, spending
from lakehouse import layout
from lakehouse.jobs import Run, leased_run
from lakehouse.settings import IngestSettings
from local_cloud.cloud import Cloud
from streaming_jobs.kinesis_source import is_drained, pin_tip
from streaming_jobs.micro_batches import MicroBatchSink
from streaming_jobs.stream_sources import choose_source, read_stream


@dataclass(frozen=True)
class Bench:
    """A cloud, a warm session and a folder of this benchmark's own."""

    cloud: Cloud
    spark: SparkSession
    folder: Path

    @contextmanager
    def run_of(self, **settings: Any) -> Iterator[Run[IngestSettings]]:
        """Hold a run of the streaming job with a bucket, so a checkpoint, of its own."""
        prefix = f"b-{uuid.uuid4().hex[:8]}"
        values = IngestSettings.with_prefix(prefix, control_table=prefix, **settings)
        s3, dynamodb = self.cloud.client("s3"), self.cloud.client("dynamodb")
        s3.create_bucket(Bucket=values.raw_bucket)
        dynamodb.create_table(
            TableName=prefix,
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
            BillingMode="PAY_PER_REQUEST",
        )
        with leased_run(values, run_id=prefix, session=lambda: self.spark, s3=s3, dynamodb=dynamodb) as run:
            yield run


def drained(bench: Bench, stream: str) -> Spent:
    """Ingest all of a stream with a new checkpoint and return what it takes from start to drained."""
    settings = {"stream": stream, "drain": "true", "shard_reads_per_second": 0.0, "shard_bytes_per_second": 0.0}
    with (
        bench.run_of(**settings) as run,
        ingestion(run, trigger_seconds=0) as (query, ending),
        spending(bench.cloud) as spent,
    ):
        while query.isActive and not is_drained(query, ending):
            time.sleep(0.1)
    return spent


@contextmanager
def ingestion(run: Run[IngestSettings], *, trigger_seconds: float) -> Iterator[tuple[Any, str]]:
    """Run the job's own query; yield it and, where the settings say to drain, the positions at which it ends."""
    source = choose_source(run.settings, tasks=SHARDS)
    ending = pin_tip(source.options) if run.settings.drain == "true" else ""
    if ending:
        source.options["endingTimestamp"] = ending
    query = (
        read_stream(run.spark, source)
        .writeStream.foreachBatch(MicroBatchSink(run).write)
        .option("checkpointLocation", layout.uri(run.settings.raw_bucket, layout.INGEST_CHECKPOINT))
        .trigger(processingTime=f"{trigger_seconds} seconds")
        .start()
    )
    try:
        yield query, ending
    finally:
        query.stop()
    failure = query.exception()
    if failure is not None:
        raise failure
