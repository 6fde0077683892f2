"""The reader of one version of one file (moto): all its records in Arrow, and nothing of another version."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError
from pyspark.sql.datasource import InputPartition
from pyspark.sql.types import StructType

from streaming_jobs.csv_source import ROWS_PER_BATCH, CsvFileReader, CsvFileSource
from streaming_jobs.timeliness import TAKE_ALL

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

HEADER = "user_id,track_id,listen_time\n"
ARRIVAL = datetime(2024, 6, 30, 12, tzinfo=UTC)
TIME = "2024-06-25T17:43:13Z"


def test_records_come_some_thousands_at_a_time(s3: S3Client, raw_bucket: str) -> None:
    rows = ROWS_PER_BATCH + 5
    body = HEADER + "".join(f"{number},t,{TIME}\n" for number in range(rows)) + f"7\nx,t,{TIME}\n"
    etag = s3.put_object(Bucket=raw_bucket, Key="streams/a.csv", Body=body.encode())["ETag"].strip('"')
    batches = list(CsvFileReader(raw_bucket, "streams/a.csv", etag, ARRIVAL, TAKE_ALL).read(InputPartition(None)))
    assert len(batches) > 1
    found = sorted((row for batch in batches for row in batch.to_pylist()), key=lambda row: row["line"])
    *listens, malformed, mistyped = found
    assert [(row["line"], row["sequence_number"], row["user_id"]) for row in listens] == [
        (number + 2, str(number + 2), number) for number in range(rows)
    ]
    assert {(row["stream"], row["shard_id"], row["arrived_at"]) for row in found} == {("streams/a.csv", etag, ARRIVAL)}
    assert {(row["reject_reason"], row["data"]) for row in listens} == {(None, None)}
    assert (malformed["line"], malformed["data"], malformed["reject_reason"]) == (rows + 2, b"7\n", "malformed_csv")
    assert (mistyped["line"], mistyped["reject_reason"]) == (rows + 3, "wrong_type")
    assert json.loads(mistyped["data"])["user_id"] == "x"


def test_a_large_record_ends_its_batch(s3: S3Client, raw_bucket: str) -> None:
    body = HEADER + f'7,"{"x" * 60_000}",x\n' * 200
    etag = s3.put_object(Bucket=raw_bucket, Key="streams/a.csv", Body=body.encode())["ETag"].strip('"')
    batches = list(CsvFileReader(raw_bucket, "streams/a.csv", etag, ARRIVAL, TAKE_ALL).read(InputPartition(None)))
    assert [len(batch) for batch in batches if len(batch)] == [140, 60], "8 MiB and what is left"
    assert {row["reject_reason"] for batch in batches for row in batch.to_pylist()} == {"invalid_value"}


def test_another_version_is_an_error(s3: S3Client, raw_bucket: str) -> None:
    etag = s3.put_object(Bucket=raw_bucket, Key="streams/a.csv", Body=HEADER.encode())["ETag"].strip('"')
    s3.put_object(Bucket=raw_bucket, Key="streams/a.csv", Body=b"other")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        list(CsvFileReader(raw_bucket, "streams/a.csv", etag, ARRIVAL, TAKE_ALL).read(InputPartition(None)))


def test_rows_are_counted_late_by_the_limits_of_the_options(s3: S3Client, raw_bucket: str) -> None:
    times = ("2024-06-30T11:59:00Z", "2024-06-30T11:58:59Z", "2024-06-30T12:00:02Z", "2024-06-30T12:00:03Z")
    body = HEADER + "".join(f"1,t,{time}\n" for time in times)
    etag = s3.put_object(Bucket=raw_bucket, Key="streams/a.csv", Body=body.encode())["ETag"].strip('"')
    file = {"bucket": raw_bucket, "key": "streams/a.csv", "etag": etag, "arrivedat": ARRIVAL.isoformat()}
    source = CsvFileSource({**file, "lateafterseconds": "60", "futuretoleranceseconds": "2"})
    batches = source.reader(StructType()).read(InputPartition(None))
    found = [row["timeliness"] for batch in batches for row in batch.to_pylist()]
    assert found == [None, "late_event", None, "future_event"]
