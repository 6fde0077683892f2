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
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq

from benchmarks.draining import Bench, drained, ingestion
from benchmarks.ingest_streams import (
    AGGREGATED_EVENTS,
    EVENTS_A_RECORD,
    PLAIN_EVENTS,
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
from lakehouse.jobs import Run
from lakehouse.settings import IngestSettings
from local_cloud.cloud import Cloud
from local_cloud.options import CloudOptions
from streaming_jobs.micro_batches import MicroBatchSink

ROUNDS: Final = 3
FRESH_EVENTS_PER_SECOND: Final = 1_000
FRESH_SECONDS: Final = 60


def measure_ingesting() -> dict[str, float]:
    """Return rows a second of both kinds of records, their ratios, the cost of small batches, and freshness."""
    with session_on_cloud(CloudOptions()) as (cloud, spark, folder):
        bench = Bench(cloud, spark, folder)
        plain, aggregated = (
            filled(cloud, map(event, range(events)), events_a_record)
            for events, events_a_record in ((PLAIN_EVENTS, 1), (AGGREGATED_EVENTS, EVENTS_A_RECORD))
        )
        files = local_files(bench.folder)
        for stream in (plain, aggregated):
            drained(bench, stream)
        read_files(bench.spark, files, bench.folder)
        rounds = [
            {
                "plain": drained(bench, plain),
                "aggregated": drained(bench, aggregated),
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
        with ingestion(run, trigger_seconds=run.settings.trigger_seconds) as (query, _):
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
