"""The Kinesis source in a real query, and the sink behind it: every record once, however the query ends and starts."""

from __future__ import annotations

import io
import json
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.errors import StreamingQueryException
from pyspark.sql import functions as F

from lakehouse import layout, listen_rules
from lakehouse.bad_records import fingerprint_of
from lakehouse.batch_reports import BatchReports
from lakehouse.boundaries import Boundaries
from lakehouse.jobs import Run
from lakehouse.leases import LeaseLostError
from lakehouse.settings import IngestSettings
from streaming_jobs.kinesis_source import KinesisSource, await_drained, end_offsets, pin_tip, progress_of
from streaming_jobs.micro_batches import MicroBatchSink
from tests.integration.laboratory import Crash, Lab
from tests.integration.records import ARRIVAL, PROCESSED_SCHEMA

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming.query import StreamingQuery

    from local_cloud.cloud import Cloud

DEADLINE_SECONDS = 90.0


def wait_for(condition: Callable[[], bool], query: StreamingQuery) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        failure = query.exception()
        if failure is not None:
            raise failure
        assert time.monotonic() < deadline, query.lastProgress
        time.sleep(0.1)


@pytest.fixture
def stream(cloud: Cloud) -> Iterator[str]:
    """A stream of two shards that no other test reads."""
    name, kinesis = f"t-{uuid.uuid4().hex[:10]}", cloud.client("kinesis")
    kinesis.create_stream(StreamName=name, ShardCount=2)
    kinesis.get_waiter("stream_exists").wait(StreamName=name, WaiterConfig={"Delay": 1})
    yield name
    kinesis.delete_stream(StreamName=name)


def send(cloud: Cloud, stream: str, numbers: range) -> None:
    entries = [{"Data": str(number).encode(), "PartitionKey": f"key {number}"} for number in numbers]
    answer = cloud.client("kinesis").put_records(StreamName=stream, Records=entries)
    assert answer["FailedRecordCount"] == 0


@contextmanager
def running(spark: SparkSession, cloud: Cloud, stream: str, folder: Path, **options: str) -> Iterator[StreamingQuery]:
    """A query from the stream to files; it stops at the end of the block, and its checkpoint stays."""
    spark.dataSource.register(KinesisSource)
    source = spark.readStream.format("listenlake_kinesis").option("streamName", stream)
    source = source.option("endpointUrl", cloud.record.endpoint).option("region", "us-east-1")
    source = source.option("progressLocation", f"file:{folder}/journal")
    query = (
        source.options(**options)
        .load()
        .writeStream.format("parquet")
        .option("checkpointLocation", f"file:{folder}/checkpoint")
        .trigger(processingTime="0 seconds")
        .start(f"file:{folder}/records")
    )
    try:
        yield query
    finally:
        query.stop()


def read(spark: SparkSession, folder: Path) -> list[dict[str, Any]]:
    """What the file sink has committed."""
    if not (folder / "records" / "_spark_metadata").exists():
        return []
    columns = "data BINARY, shardId STRING, partitionKey STRING, sequenceNumber STRING"
    found: list[dict[str, Any]] = spark.read.schema(columns).parquet(f"file:{folder}/records").toArrow().to_pylist()
    return found


def test_every_record_once_over_a_stop_and_a_restart(
    spark: SparkSession, cloud: Cloud, stream: str, tmp_path: Path
) -> None:
    send(cloud, stream, range(100))
    with running(spark, cloud, stream, tmp_path, maxRecordsPerShard="30") as query:
        wait_for(lambda: len(read(spark, tmp_path)) >= 100, query)
    send(cloud, stream, range(100, 140))
    commits = sorted((tmp_path / "checkpoint" / "commits").glob("[0-9]*"), key=lambda path: int(path.name))
    with running(spark, cloud, stream, tmp_path) as query:
        wait_for(lambda: len(read(spark, tmp_path)) >= 140, query)
    assert len(commits) >= 2, "the cap makes more than one batch of 100 records"
    found = read(spark, tmp_path)
    assert Counter(int(row["data"]) for row in found) == Counter(range(140))
    assert {row["shardId"] for row in found} == {"shardId-000000000000", "shardId-000000000001"}
    assert all(row["partitionKey"] == f"key {int(row['data'])}" for row in found)
    for shard in {row["shardId"] for row in found}:
        numbers = [(int(row["sequenceNumber"]), int(row["data"])) for row in found if row["shardId"] == shard]
        assert [data for _, data in sorted(numbers)] == sorted(data for _, data in numbers)


def test_a_batch_that_was_planned_and_not_committed_is_replayed_as_it_was(
    spark: SparkSession, cloud: Cloud, stream: str, tmp_path: Path
) -> None:
    send(cloud, stream, range(20))
    with running(spark, cloud, stream, tmp_path) as query:
        wait_for(lambda: len(read(spark, tmp_path)) >= 20, query)
    # What a process leaves that dies between the sink's work and the commit of the batch.
    checkpoint, sink = tmp_path / "checkpoint", tmp_path / "records" / "_spark_metadata"
    last = max((path for path in (checkpoint / "commits").glob("[0-9]*")), key=lambda path: int(path.name))
    for path in (last, last.with_name(f".{last.name}.crc"), sink / last.name, sink / f".{last.name}.crc"):
        path.unlink(missing_ok=True)
    logged = (checkpoint / "offsets" / last.name).read_text()
    send(cloud, stream, range(20, 30))
    with running(spark, cloud, stream, tmp_path) as query:
        wait_for(lambda: len(read(spark, tmp_path)) >= 30, query)
    assert (checkpoint / "offsets" / last.name).read_text() == logged
    assert Counter(int(row["data"]) for row in read(spark, tmp_path)) == Counter(range(30))


def test_draining_ends_at_the_tip_and_tells_how_it_stands(
    spark: SparkSession, cloud: Cloud, stream: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    send(cloud, stream, range(100))
    options = {"streamName": stream, "progressLocation": f"file:{tmp_path}/journal", "region": "us-east-1"}
    ending = pin_tip(options | {"endpointUrl": cloud.record.endpoint})
    with running(spark, cloud, stream, tmp_path, maxRecordsPerShard="30", endingTimestamp=ending) as query:
        await_drained(query, ending)
    assert Counter(int(row["data"]) for row in read(spark, tmp_path)) == Counter(range(100))
    reading = [entry for entry in query.recentProgress if entry["numInputRows"]]
    told = [progress_of(options["progressLocation"], offset) for entry in reading for offset in end_offsets(entry)]
    assert [one.records for one in told] == [entry["numInputRows"] for entry in reading]
    assert sum(one.records for one in told) == 100
    assert told[0].millis_behind > 0
    assert told[-1].millis_behind == 0


def test_a_stream_that_does_not_exist_ends_the_query(spark: SparkSession, cloud: Cloud, tmp_path: Path) -> None:
    with (
        running(spark, cloud, "no-such-stream", tmp_path) as query,
        pytest.raises(StreamingQueryException, match="no-such-stream"),
    ):
        query.awaitTermination(60)


# -- the sink ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def ingest(lab: Lab, cloud: Cloud) -> Iterator[Run[IngestSettings]]:
    """A run of the streaming job that holds its lease, before its first batch."""
    lab.put(f"{layout.INGEST_CHECKPOINT}metadata", json.dumps({"id": "0b6e"}))
    settings = lab.settings(IngestSettings)
    with lab.leased(settings) as run:
        yield run


def one_good_one_bad(spark: SparkSession) -> DataFrame:
    event = {"user_id": 1, "track_id": "a", "listen_time": "2024-06-25T10:00:00Z", "event_id": "e"}
    payloads = [json.dumps(event).encode(), b"{"]
    rows = [
        (payload, "listens", "shardId-000000000000", "k", str(number), ARRIVAL)
        for number, payload in enumerate(payloads)
    ]
    names = ["data", "streamName", "shardId", "partitionKey", "sequenceNumber", "approximateArrivalTimestamp"]
    types = [pa.binary(), pa.string(), pa.string(), pa.string(), pa.string(), pa.timestamp("us", tz="UTC")]
    columns = [pa.array(values, kind) for values, kind in zip(zip(*rows, strict=True), types, strict=True)]
    return spark.createDataFrame(pa.Table.from_arrays(columns, names))


def kept(lab: Lab, manifest: dict[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Listens and rejects in exactly the files that a manifest names."""
    listens: list[dict[str, Any]] = []
    for file in manifest["files"]:
        table = pq.read_table(io.BytesIO(lab.read(file["key"])))
        assert set(table.column_names) == set(PROCESSED_SCHEMA.names)
        listens += table.to_pylist()
    rejects = [json.loads(line) for file in manifest["rejects"] for line in lab.read(file["key"]).splitlines()]
    return listens, rejects


@pytest.mark.parametrize("boundary", ["records_judged", "data_written", "manifest_written"])
def test_a_batch_commits_once_wherever_its_first_attempt_died(
    lab: Lab, ingest: Run[IngestSettings], boundary: str
) -> None:
    def crash() -> None:
        raise Crash(boundary)

    frame = one_good_one_bad(lab.spark)
    with pytest.raises(Crash):
        MicroBatchSink(replace(ingest, boundaries=Boundaries(boundary, kill=crash))).write(frame, 0)
    MicroBatchSink(ingest).write(frame, 0)
    MicroBatchSink(ingest).write(frame, 0)
    [key] = [key for key in lab.keys(layout.PROCESSED) if key.endswith("_MANIFEST.json")]
    assert key == "processed-streams/generation=0b6e/batch=0/_MANIFEST.json"
    manifest = json.loads(lab.read(key))
    assert (manifest["rows"], manifest["rejected"]) == (1, {"invalid_json": 1})
    reports = BatchReports(lab.dynamodb, ingest.settings.control_table, layout.INGEST_JOB)
    [told] = reports.since(datetime.fromisoformat(manifest["committed_at"]))
    assert (told, told.accepted, told.rejected) == (reports.latest(), 1, {"invalid_json": 1})
    assert (told.lag_seconds is None) == (boundary == "manifest_written"), "what a run measured dies with it"
    listens, rejects = kept(lab, manifest)
    assert [(row["event_id"], row["sequence_number"]) for row in listens] == [("e", "0")]
    assert [(row["reason"], row["payload"], row["sequence_number"]) for row in rejects] == [("invalid_json", "{", "1")]
    assert [row["fingerprint"] for row in rejects] == [fingerprint_of("invalid_json", rejects[0]["message"])]


def test_spark_and_python_give_a_cause_the_same_fingerprint(spark: SparkSession) -> None:
    causes = [
        ("wrong_type", "a field: user_id as STRING for BIGINT"),
        (
            "wrong_type",
            "a field: user_id as OBJECT<a: BIGINT, b: ARRAY<STRING>> for BIGINT, x as DECIMAL(3,1) for STRING",
        ),
        ("wrong_type", "a field: user_id as OBJECT<a\n\u2028: BIGINT> for BIGINT, track_id as ARRAY<é>\n"),
        ("wrong_type", "ends in a type as ARRAY<OBJECT<>>"),
        ("oversize", "the event is larger than 65536 bytes"),
        ("oversize", ""),
    ]
    named = spark.createDataFrame(causes, "reason STRING, message STRING").select(
        "reason", "message", listen_rules.fingerprint(F.col("reason"), F.col("message")).alias("fingerprint")
    )
    found = [tuple(row) for row in named.collect()]
    assert sorted(found) == sorted((*cause, fingerprint_of(*cause)) for cause in causes)


def test_a_driver_that_lost_its_lease_commits_nothing(lab: Lab, ingest: Run[IngestSettings]) -> None:
    taken: dict[str, Any] = {"pk": {"S": "lease"}, "sk": {"S": layout.INGEST_JOB}, "run_id": {"S": "run-2"}}
    lab.dynamodb.put_item(TableName=ingest.settings.control_table, Item={**taken, "beat": {"S": "x"}})
    with pytest.raises(LeaseLostError, match="took it over"):
        MicroBatchSink(ingest).write(one_good_one_bad(lab.spark), 0)
    assert not [key for key in lab.keys(layout.PROCESSED) if key.endswith("_MANIFEST.json")]


def test_a_batch_without_records_leaves_nothing(lab: Lab, ingest: Run[IngestSettings]) -> None:
    MicroBatchSink(ingest).write(one_good_one_bad(lab.spark).where("false"), 0)
    assert lab.keys(layout.PROCESSED) == lab.keys(layout.BAD_RECORDS) == []
