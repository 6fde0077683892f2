"""Glue streaming job `ingest_listens`: Kinesis in, micro-batches under `processed-streams/` and `bad-records/` out.

CSV files that somebody puts under `streams/` become batches too, as often looked for as micro-batches are made.

Runs until it is told to stop (SIGTERM or Ctrl-C), then finishes the micro-batch it is in; with `--drain true`, until
everything that was in the stream and under `streams/` at the start is ingested. A run that is killed instead is
continued by the next one from the checkpoint, exactly once.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from functools import partial
from types import FrameType

import boto3
from pyspark.sql.streaming.query import StreamingQuery

from lakehouse import layout
from lakehouse.errors import SourceError
from lakehouse.jobs import AWS_CONFIG, Run, run_job
from lakehouse.settings import IngestSettings
from streaming_jobs.csv_drops import DropIngestion
from streaming_jobs.kinesis_source import is_drained, pin_tip
from streaming_jobs.micro_batches import MicroBatchSink
from streaming_jobs.parsing import parse_batches
from streaming_jobs.stream_sources import choose_source, read_stream
from streaming_jobs.timeliness import Timeliness

logger = logging.getLogger(__name__)

FINISH_SECONDS = 60.0


class StreamNotFoundError(SourceError):
    """The Kinesis stream does not exist."""


def run(run: Run[IngestSettings]) -> None:
    """Ingest until stopped."""
    stop = threading.Event()
    _stop_on_signal(stop)
    _require_stream(run.settings)
    source = choose_source(run.settings, tasks=run.spark.sparkContext.defaultParallelism)
    ending: str | None = None
    if run.settings.drain == "true":
        ending = pin_tip(source.options)
        source.options["endingTimestamp"] = ending
    judge = partial(parse_batches, timeliness=Timeliness.of(run.settings))
    sink = MicroBatchSink(run, judge=judge, is_stopping=stop.is_set)
    query = (
        read_stream(run.spark, source)
        .writeStream.queryName(layout.INGEST_JOB)
        .foreachBatch(sink.write)
        .option("checkpointLocation", layout.uri(run.settings.raw_bucket, layout.INGEST_CHECKPOINT))
        .trigger(processingTime=f"{run.settings.trigger_seconds} seconds")
        .start()
    )
    logger.info("ingestion started", extra={"stream": run.settings.stream})
    drops = DropIngestion(run, sink)
    next_look = time.monotonic()
    while query.isActive and not stop.is_set():
        if time.monotonic() >= next_look:
            drops.ingest_waiting(stop)
            next_look = time.monotonic() + run.settings.trigger_seconds
        stop.wait(0.2)
        if run.lease.lost or (ending is not None and is_drained(query, ending)):
            break
    if query.isActive:
        _finish_batch(query)
    failure = query.exception()
    if failure is not None:
        raise failure
    run.lease.check()
    if ending is not None:
        drops.require_all()
    run.report.facts["stopped"] = "on request" if stop.is_set() else "drained"


def _finish_batch(query: StreamingQuery) -> None:
    """Stop between two micro-batches where possible; a replay repairs what a stop inside one leaves behind."""
    deadline = threading.Event()
    timer = threading.Timer(FINISH_SECONDS, deadline.set)
    timer.start()
    while query.isActive and query.status["isTriggerActive"] and not deadline.is_set():
        deadline.wait(0.05)
    timer.cancel()
    query.stop()


def _require_stream(settings: IngestSettings) -> None:
    endpoint = None if settings.kinesis_endpoint == "-" else settings.kinesis_endpoint
    kinesis = boto3.client("kinesis", config=AWS_CONFIG, endpoint_url=endpoint)
    try:
        kinesis.describe_stream_summary(StreamName=settings.stream)
    except kinesis.exceptions.ResourceNotFoundException:
        raise StreamNotFoundError(
            expected=f"a Kinesis stream called {settings.stream}",
            found="none in this account and region",
            do="Deploy the stack, or name another stream with --stream.",
        ) from None


def _stop_on_signal(stop: threading.Event) -> None:
    def handle(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)


if __name__ == "__main__":
    code = run_job(IngestSettings, run, arguments=sys.argv[1:], environment=os.environ)
    if code:
        sys.exit(code)
