"""A record on which the job fails, whatever it is: the stream goes on without it, over a restart too, and keeps it."""

from __future__ import annotations

import base64
import io
import json
import logging
import re
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.errors import PySparkException, StreamingQueryException
from pyspark.sql import functions as F

from lakehouse import layout
from lakehouse.batches import Manifest, list_pending
from lakehouse.boundaries import Boundaries
from lakehouse.jobs import Run
from lakehouse.settings import IngestSettings
from streaming_jobs.kinesis_source import KinesisSource
from streaming_jobs.micro_batches import MicroBatchSink
from streaming_jobs.outcome_files import Judge
from streaming_jobs.parsing import parse_batches
from tests.integration.laboratory import Lab

if TYPE_CHECKING:
    from local_cloud.cloud import Cloud

POISON: Final = "a secret of the payload"
BINARY_POISON: Final = POISON.encode() + b"\xff"
CLASS_NAME: Final = re.compile(r"[\w.]+(?:Exception|Error)")
PARTS_BEFORE_DEATH: Final = 3
DEADLINE_SECONDS: Final = 240.0


class KilledError(Exception):
    """The end of a run at a boundary, in a form that passes through Spark's callback."""


def good(number: int) -> bytes:
    event = {"user_id": number, "track_id": "t", "listen_time": "2024-06-25T10:00:00Z", "event_id": f"e{number}"}
    return json.dumps(event).encode()


def failing_on(is_poison: Callable[[bytes], bool]) -> Judge:
    """`parse_batches` with a bug: a task fails on some records, with an error that quotes the payload."""

    def judge(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for data in batch["data"].to_pylist():
                if is_poison(data):
                    raise ValueError(f"can't take {data!r}")
            yield from parse_batches([batch])

    return judge


@pytest.fixture
def ingest(lab: Lab) -> Iterator[Run[IngestSettings]]:
    """A run of the streaming job that holds its lease."""
    settings = lab.settings(IngestSettings, batch_tries=1)
    with lab.leased(settings) as run:
        yield run


@pytest.fixture
def stream(cloud: Cloud) -> Iterator[str]:
    """A stream of two shards that no other test reads."""
    name, kinesis = f"t-{uuid.uuid4().hex[:10]}", cloud.client("kinesis")
    kinesis.create_stream(StreamName=name, ShardCount=2)
    kinesis.get_waiter("stream_exists").wait(StreamName=name, WaiterConfig={"Delay": 1})
    yield name
    kinesis.delete_stream(StreamName=name)


def send(cloud: Cloud, stream: str, records: list[bytes]) -> None:
    entries = [{"Data": record, "PartitionKey": f"key {place}"} for place, record in enumerate(records)]
    assert cloud.client("kinesis").put_records(StreamName=stream, Records=entries)["FailedRecordCount"] == 0


@contextmanager
def ingesting(run: Run[IngestSettings], cloud: Cloud, stream: str) -> Iterator[Callable[[Callable[[], bool]], None]]:
    """The job's query on a checkpoint where the job has it; yields what waits for a condition while it runs."""
    run.spark.dataSource.register(KinesisSource)
    bucket = run.settings.raw_bucket
    options = {
        "streamName": stream,
        "endpointUrl": cloud.record.endpoint,
        "region": "us-east-1",
        "progressLocation": layout.uri(bucket, layout.INGEST_PROGRESS),
    }
    source = run.spark.readStream.format(KinesisSource.name()).options(**options).load()
    query = (
        source.writeStream.foreachBatch(MicroBatchSink(run, judge=failing_on(lambda data: b"a secret" in data)).write)
        .option("checkpointLocation", layout.uri(bucket, layout.INGEST_CHECKPOINT))
        .start()
    )

    def wait_for(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not condition():
            if (failure := query.exception()) is not None:
                raise failure
            assert time.monotonic() < deadline, query.lastProgress
            time.sleep(0.2)

    try:
        yield wait_for
    finally:
        query.stop()


def manifests(lab: Lab) -> list[Manifest]:
    return list_pending(lab.s3, lab.places.raw_bucket)


def accepted(lab: Lab) -> Counter[str]:
    """Event ids in exactly the files that manifests name."""
    tables = [pq.read_table(io.BytesIO(lab.read(file.key))) for one in manifests(lab) for file in one.files]
    return Counter(name for table in tables for name in table.column("event_id").to_pylist())


def rejected(lab: Lab) -> list[dict[str, Any]]:
    """Rejects in exactly the files that manifests name, by their place in the record."""
    lines = [line for one in manifests(lab) for file in one.rejects for line in lab.read(file.key).splitlines()]
    return sorted(
        (json.loads(line) for line in lines), key=lambda row: (row["reason"], row["sequence_number"], row["line"])
    )


def test_the_stream_goes_on_without_the_poison_and_keeps_it(
    lab: Lab, cloud: Cloud, ingest: Run[IngestSettings], stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    passed = count(1)

    def kill() -> None:
        if next(passed) == PARTS_BEFORE_DEATH:
            raise KilledError

    caplog.set_level(logging.INFO, logger="streaming_jobs")
    lines = b"\n".join([good(100), b'{"platform":"' + POISON.encode() + b'"}', good(101)])
    send(cloud, stream, [*map(good, range(3)), lines, b"{", BINARY_POISON])
    dying = replace(ingest, boundaries=Boundaries("records_judged", kill=kill))
    with pytest.raises(StreamingQueryException, match="KilledError"), ingesting(dying, cloud, stream) as wait_for:
        wait_for(lambda: bool(manifests(lab)))
    assert manifests(lab) == []

    with ingesting(ingest, cloud, stream) as wait_for:
        wait_for(lambda: bool(manifests(lab)))
        send(cloud, stream, [*map(good, range(3, 6))])
        wait_for(lambda: sum(one.rows or 0 for one in manifests(lab)) >= 6)
    assert accepted(lab) == Counter(f"e{number}" for number in range(6))
    first, *_ = manifests(lab)
    assert (first.rows, first.rejected) == (3, {"invalid_json": 1, "unprocessable": 4})
    folder = f"{layout.BAD_RECORDS}{layout.INGEST_JOB}/{first.id.path}{first.attempt}/"
    assert all(file.key.startswith(folder) for file in first.rejects)

    broken, *rows = rejected(lab)
    assert (broken["reason"], broken["payload"]) == ("invalid_json", "{")
    assert all(CLASS_NAME.fullmatch(row["message"].rpartition(": ")[2]) for row in rows)
    payloads = [base64.b64decode(row.get("payload_base64", "")) or row["payload"].encode() for row in rows]
    assert Counter(zip(payloads, [row["line"] for row in rows], strict=True)) == Counter(
        [*((line, place) for place, line in enumerate(lines.split(b"\n"), start=1)), (BINARY_POISON, 1)]
    )
    assert {row["stream"] for row in rows} == {stream}
    assert len({(row["shard_id"], row["sequence_number"]) for row in rows}) == 2

    told = [record for record in caplog.records if record.name.startswith("streaming_jobs")]
    assert not any(POISON in str(vars(record)) for record in told)
    aside = [record for record in told if record.message == "record is unprocessable"]
    assert {vars(record)["sequence_number"] for record in aside} == {row["sequence_number"] for row in rows}
    [metrics] = [vars(record) for record in told if "rejected_unprocessable" in vars(record)]
    assert (metrics["accepted"], metrics["rejected_unprocessable"], metrics["late_events"]) == (3, 4, 3)


def test_a_job_that_is_at_fault_itself_blames_no_record(lab: Lab, cloud: Cloud, ingest: Run[IngestSettings]) -> None:
    lab.put(f"{layout.INGEST_CHECKPOINT}metadata", json.dumps({"id": "0b6e"}))
    row = {"data": good(1), "streamName": "s", "shardId": "0", "partitionKey": "k", "sequenceNumber": "1"}
    frame = lab.spark.createDataFrame([row]).withColumn("approximateArrivalTimestamp", F.current_timestamp())
    with pytest.raises(PySparkException, match="can't take"):
        MicroBatchSink(ingest, judge=failing_on(lambda _: True)).write(frame, 0)
    assert manifests(lab) == []
    assert lab.keys(layout.BAD_RECORDS) == []
