"""Serving, archive and metrics on AWS in-process: every write accounted for, every prefix of the moves repeatable."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from boto3.dynamodb.types import TypeDeserializer
from moto import mock_aws

from batch_jobs.archiving import Archive
from batch_jobs.serving import Serving
from batch_jobs.validation_metrics import append_line, with_line
from lakehouse import layout
from lakehouse.batches import BatchFile, BatchId, Manifest, commit_manifest, list_files
from lakehouse.boundaries import Boundaries
from lakehouse.tables import VALIDATION_METRICS_HEADER

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

NOW = datetime(2024, 7, 1, tzinfo=UTC)
KEY = {"track_genre": "pop", "listen_date": "2024-06-25"}
BUCKET = "raw"


@pytest.fixture
def aws() -> Iterator[None]:
    with mock_aws():
        yield


@pytest.fixture
def s3(aws: None) -> S3Client:
    client = boto3.client("s3", region_name="us-east-1")
    client.create_bucket(Bucket=BUCKET)
    return client


@pytest.fixture
def dynamodb(aws: None) -> DynamoDBClient:
    client = boto3.client("dynamodb", region_name="us-east-1")
    client.create_table(
        TableName="kpis",
        KeySchema=[
            {"AttributeName": "track_genre", "KeyType": "HASH"},
            {"AttributeName": "listen_date", "KeyType": "RANGE"},
        ],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in KEY],
        BillingMode="PAY_PER_REQUEST",
    )
    return client


def item(version: int, count: int, **others: Any) -> dict[str, Any]:
    average = Decimal("10.50")
    return {**KEY, "listen_count": count, "average": average, "source_version": version, "deleted": False, **others}


def served(client: DynamoDBClient) -> dict[str, Any]:
    [found] = client.scan(TableName="kpis")["Items"]
    return {name: TypeDeserializer().deserialize(value) for name, value in found.items()}


def test_every_write_is_accounted_for_and_an_older_version_never_wins(dynamodb: DynamoDBClient) -> None:
    serving = Serving(dynamodb, "kpis", {"listen_count": 0}, lambda: NOW)
    assert serving.apply([item(3, 7)]) == {"written": 1}
    assert serving.apply([item(3, 7)]) == {"unchanged": 1}
    assert serving.apply([item(2, 99)]) == {"refused": 1}
    found = served(dynamodb)
    assert (found["listen_count"], found["average"]) == (7, Decimal("10.50"))
    assert isinstance(found["average"], Decimal)
    assert serving.apply([{**KEY, "source_version": 4, "deleted": True}]) == {"tombstoned": 1}
    assert serving.apply([item(3, 7)]) == {"refused": 1}, "a stalled run must not bring back what vanished"
    gone = served(dynamodb)
    assert (gone["deleted"], gone["listen_count"], gone["source_version"]) == (True, 0, 4)
    assert gone["expires_at"] > NOW.timestamp()


def test_a_float_to_dynamodb_is_an_error_and_no_rounding(dynamodb: DynamoDBClient) -> None:
    with pytest.raises(TypeError, match="Float"):
        Serving(dynamodb, "kpis", {}, lambda: NOW).apply([item(1, 1, average=10.5)])


def put(s3: S3Client, key: str) -> BatchFile:
    etag = s3.put_object(Bucket=BUCKET, Key=key, Body=key.encode())["ETag"].strip('"')
    return BatchFile(key, len(key), etag)


def batch(s3: S3Client, number: int, files: int) -> Manifest:
    id_ = BatchId("g", str(number))
    folder = f"{layout.PROCESSED}{id_.path}attempt=won/"
    manifest = Manifest(
        id=id_,
        attempt="attempt=won",
        files=tuple(put(s3, f"{folder}part-{part}.parquet") for part in range(files)),
        rows=files,
        committed_at=NOW,
    )
    put(s3, f"{layout.PROCESSED}{id_.path}attempt=lost/part-0.parquet")
    put(s3, f"{layout.BAD_RECORDS}{layout.INGEST_JOB}/{id_.path}attempt=lost/part-0.json")
    put(s3, f"{layout.BAD_RECORDS}{layout.INGEST_JOB}/{id_.path}attempt=won/part-0.json")
    put(s3, id_.transformed_key)
    assert commit_manifest(s3, BUCKET, manifest)
    return manifest


def keys(s3: S3Client, prefix: str) -> list[str]:
    return [file.key for file, _ in list_files(s3, BUCKET, prefix)]


class Crash(Exception):  # noqa: N818 - it stands for SIGKILL
    pass


def crash() -> None:
    raise Crash


@pytest.mark.parametrize("boundary", ["copied", "archived", "deleted"])
def test_the_archive_can_be_repeated_after_any_step(s3: S3Client, boundary: str) -> None:
    manifest = batch(s3, 0, files=2)
    with pytest.raises(Crash):
        Archive(s3, BUCKET, Boundaries(boundary, crash)).store([manifest])
    Archive(s3, BUCKET, Boundaries()).store([manifest])
    assert keys(s3, layout.PROCESSED) == []
    assert keys(s3, layout.ARCHIVES) == [
        f"{layout.ARCHIVES}{manifest.id.path}{name}"
        for name in (layout.MANIFEST, "attempt=won/part-0.parquet", "attempt=won/part-1.parquet")
    ]
    assert [key.split("/")[-2] for key in keys(s3, layout.BAD_RECORDS)] == ["attempt=won"]


def test_more_than_1000_objects_under_a_prefix(s3: S3Client) -> None:
    manifests = [batch(s3, 0, files=1_005), batch(s3, 1, files=1)]
    assert Archive(s3, BUCKET, Boundaries()).store(manifests) == 1_006
    assert keys(s3, layout.PROCESSED) == []
    assert len(keys(s3, layout.ARCHIVES)) == 1_008


def line(run_id: str, version: int, mode: str = "incremental") -> dict[str, str]:
    return dict.fromkeys(VALIDATION_METRICS_HEADER, "0") | {
        "run_id": run_id,
        "table_version": str(version),
        "mode": mode,
    }


def test_metrics_have_one_line_for_each_run_that_finished(s3: S3Client) -> None:
    done, died, again = line("done", 3), line("died", 5), line("again", 6)
    recomputed = line("recomputed", 3, "recompute")
    assert with_line([done, recomputed, died], again, consumed_before=3) == [done, recomputed, again]
    assert with_line([done, again], again, consumed_before=6) == [done, again]
    for one, before in ((done, -1), (died, 3), (again, 3)):
        append_line(s3, BUCKET, "m.csv", one, consumed_before=before)
    text = s3.get_object(Bucket=BUCKET, Key="m.csv")["Body"].read().decode()
    assert text.splitlines()[0] == ",".join(VALIDATION_METRICS_HEADER)
    assert [row.split(",")[-3] for row in text.splitlines()[1:]] == ["done", "again"]
