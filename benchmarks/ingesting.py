"""What ingestion costs from Kinesis to files, against Spark on local files and a loop without Spark, on `local[2]`.

The job's own source and sink drain a stream that was filled before. Rows a second are those of both cores together;
the session is warm, the pace that Kinesis sets a shard is off, and each measurement is the median of its rounds. The
emulator works on the same cores; processor seconds tell its work from the job's, ratios of seconds do not.
"""

from __future__ import annotations

import io
import statistics
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from benchmarks.ingest_streams import (
    AGGREGATED_EVENTS,
    EVENTS_A_RECORD,
    PLAIN_EVENTS,
    SHARDS,
    event,
    filled,
    local_files,
    loop,
    new_stream,
    put,
    read_files,
)
from benchmarks.sessions import session_on_cloud
from benchmarks.spending import Spent, spending
from lakehouse import layout
from lakehouse.batches import list_pending
from lakehouse.jobs import Run, leased_run
from lakehouse.settings import IngestSettings
from local_cloud.cloud import Cloud
from local_cloud.options import CloudOptions
from streaming_jobs.kinesis_source import is_drained, pin_tip
from streaming_jobs.micro_batches import MicroBatchSink
from streaming_jobs.stream_sources import choose_source, read_stream

ROUNDS: Final = 3
FRESH_EVENTS_PER_SECOND: Final = 1_000
FRESH_SECONDS: Final = 60


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


def measure_ingesting() -> dict[str, float]:
    """Return rows a second of both kinds of records, their ratios, the cost of small batches, and freshness."""
    with session_on_cloud(CloudOptions()) as (cloud, spark, folder):
        bench = Bench(cloud, spark, folder)
        plain, aggregated = [filled(cloud, *what) for what in ((PLAIN_EVENTS, 1), (AGGREGATED_EVENTS, EVENTS_A_RECORD))]
        files = local_files(bench.folder)
        for stream in (plain, aggregated):
            _drain(bench, stream)
        read_files(bench.spark, files, bench.folder)
        rounds = [
            {
                "plain": _drain(bench, plain),
                "aggregated": _drain(bench, aggregated),
                "files": _spent(cloud, lambda: read_files(bench.spark, files, bench.folder)),
                "loop": _spent(cloud, lambda: loop(cloud, plain)),
            }
            for _ in range(ROUNDS)
        ]
        return _figures(rounds) | _small_batches(bench) | _freshness(bench)


def _figures(rounds: list[dict[str, Spent]]) -> dict[str, float]:
    """Medians of the rounds. `cpu_` figures are processor seconds per million events, of both cores together."""
    events = {"plain": PLAIN_EVENTS, "aggregated": AGGREGATED_EVENTS, "files": AGGREGATED_EVENTS, "loop": PLAIN_EVENTS}
    rate = {name: events[name] / statistics.median(one[name].seconds for one in rounds) for name in events}
    cpu = {name: statistics.median(one[name].cpu_seconds for one in rounds) / events[name] * 1e6 for name in events}
    served = statistics.median(one["aggregated"].cloud_cpu_seconds for one in rounds) / AGGREGATED_EVENTS * 1e6
    return {
        "rows_per_s_plain": round(rate["plain"], 1),
        "rows_per_s_aggregated": round(rate["aggregated"], 1),
        "spark_files_rows_per_s": round(rate["files"], 1),
        "plain_loop_rows_per_s": round(rate["loop"], 1),
        "ratio_to_spark_files": round(
            statistics.median(one["files"].seconds / one["aggregated"].seconds for one in rounds), 3
        ),
        "ratio_to_plain_loop": round(
            statistics.median(one["loop"].seconds / one["plain"].seconds for one in rounds), 3
        ),
        "cpu_s_per_million_plain": round(cpu["plain"], 2),
        "cpu_s_per_million_aggregated": round(cpu["aggregated"], 2),
        "cpu_s_per_million_spark_files": round(cpu["files"], 2),
        "cpu_s_per_million_of_emulator": round(served, 2),
        "cpu_ratio_to_spark_files": round(
            statistics.median(one["files"].cpu_seconds / one["aggregated"].cpu_seconds for one in rounds), 3
        ),
    }


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _spent(cloud: Cloud, work: Callable[[], object]) -> Spent:
    with spending(cloud) as spent:
        work()
    return spent


def _drain(bench: Bench, stream: str) -> Spent:
    """Ingest all of a stream with a new checkpoint and return what it takes from start to drained."""
    settings = {"stream": stream, "drain": "true", "shard_reads_per_second": 0.0, "shard_bytes_per_second": 0.0}
    with (
        bench.run_of(**settings) as run,
        _ingestion(run, trigger_seconds=0) as (query, ending),
        spending(bench.cloud) as spent,
    ):
        while query.isActive and not is_drained(query, ending):
            time.sleep(0.1)
    return spent


@contextmanager
def _ingestion(run: Run[IngestSettings], *, trigger_seconds: float) -> Iterator[tuple[Any, str]]:
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


def _small_batches(bench: Bench) -> dict[str, float]:
    """Seconds that the sink takes for no record at all, and for a hundred."""
    rows = [(event(number), "s", "shard", "k", str(number)) for number in range(100)]
    small = bench.spark.createDataFrame(
        rows, "data BINARY, streamName STRING, shardId STRING, partitionKey STRING, sequenceNumber STRING"
    ).selectExpr("*", "timestamp'2024-06-26 00:00:00' AS approximateArrivalTimestamp")
    figures = {}
    for name, frame in (("empty_batch_s", small.limit(0)), ("small_batch_s", small)):
        with bench.run_of() as run:
            checkpoint = f"{layout.INGEST_CHECKPOINT}metadata"
            run.s3.put_object(Bucket=run.settings.raw_bucket, Key=checkpoint, Body=b'{"id":"small"}')
            sink = MicroBatchSink(run)
            seconds = [_seconds(partial(sink.write, frame, number)) for number in range(7)]
        figures[name] = round(statistics.median(seconds), 3)
    return figures


def _freshness(bench: Bench) -> dict[str, float]:
    """Seconds from a record's arrival to its batch's manifest, at a steady rate and the job's own settings."""
    stream = new_stream(bench.cloud)
    sender = threading.Thread(target=_send_steadily, args=(bench.cloud, stream))
    with bench.run_of(stream=stream) as run:
        with _ingestion(run, trigger_seconds=run.settings.trigger_seconds) as (query, _):
            sender.start()
            sender.join()
            wanted = FRESH_EVENTS_PER_SECOND * FRESH_SECONDS
            while query.isActive and _ingested(run) < wanted:
                time.sleep(0.5)
        ages = np.concatenate([_ages(run, manifest) for manifest in list_pending(run.s3, run.settings.raw_bucket)])
    return {
        "freshness_p50_s": round(float(np.quantile(ages, 0.5)), 2),
        "freshness_p95_s": round(float(np.quantile(ages, 0.95)), 2),
    }


def _send_steadily(cloud: Cloud, stream: str) -> None:
    kinesis, beat = cloud.client("kinesis"), FRESH_EVENTS_PER_SECOND // 5
    began = time.monotonic()
    for number in range(FRESH_SECONDS * 5):
        put(kinesis, stream, [event(number * beat + place) for place in range(beat)])
        time.sleep(max(0.0, began + (number + 1) / 5 - time.monotonic()))


def _ingested(run: Run[IngestSettings]) -> int:
    return sum(manifest.rows or 0 for manifest in list_pending(run.s3, run.settings.raw_bucket))


def _ages(run: Run[IngestSettings], manifest: Any) -> Any:
    arrived = []
    for file in manifest.files:
        body = run.s3.get_object(Bucket=run.settings.raw_bucket, Key=file.key)["Body"].read()
        column = pq.read_table(io.BytesIO(body), columns=["arrived_at"])["arrived_at"]
        arrived.append(column.to_numpy().astype("datetime64[us]").astype(np.int64) / 1e6)
    return manifest.committed_at.timestamp() - np.concatenate(arrived)
