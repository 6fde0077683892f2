"""Fixtures of the unit tests: an AWS account that exists in this process only, and the Lambda `start_jobs` on it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
import moto
import pytest

from lakehouse import layout
from lakehouse.settings import Places
from lambdas.start_jobs import handler
from listenlake.connection import Connection
from tests.unit.start_jobs_pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

RAW_BUCKET = "t-lab3-raw"
CONTROL_TABLE = "t-control"


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """moto in this process, with credentials that open nothing and no endpoint left over from a running cloud."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_GLUE", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with moto.mock_aws():
        yield


@pytest.fixture
def s3(aws: None) -> S3Client:
    """S3 with the raw bucket."""
    client = boto3.client("s3")
    client.create_bucket(Bucket=RAW_BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    return client


@pytest.fixture
def dynamodb(aws: None) -> DynamoDBClient:
    """DynamoDB with the control table."""
    client = boto3.client("dynamodb")
    client.create_table(
        TableName=CONTROL_TABLE,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[
            {"AttributeName": "pk", "AttributeType": "S"},
            {"AttributeName": "sk", "AttributeType": "S"},
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    return client


@pytest.fixture
def raw_bucket() -> str:
    """Name of the raw bucket."""
    return RAW_BUCKET


@pytest.fixture
def control_table() -> str:
    """Name of the control table."""
    return CONTROL_TABLE


class GlueRuns:
    """Glue with two runs of `ingest_listens` and none of another job."""

    def get_paginator(self, _operation: str) -> GlueRuns:
        """Return what pages."""
        return self

    def paginate(self, *, JobName: str) -> list[dict[str, Any]]:  # noqa: N803
        """Return the one page of a job's runs."""
        noon = datetime(2024, 6, 26, 12, tzinfo=UTC)
        runs = [
            {"Id": f"jr_{number}", "JobRunState": state, "StartedOn": noon + timedelta(hours=number)}
            for number, state in ((1, "FAILED"), (2, "RUNNING"))
        ]
        return [{"JobRuns": runs if JobName == layout.INGEST_JOB else []}]


@pytest.fixture
def connection(s3: S3Client, dynamodb: DynamoDBClient, raw_bucket: str, control_table: str) -> Connection:
    """A deployed pipeline as the command line sees it, whose ingestion runs and whose Lambda cannot be called."""
    clients: dict[str, Any] = {"s3": s3, "dynamodb": dynamodb, "glue": GlueRuns(), "lambda": None}
    places = Places(raw_bucket=raw_bucket, curated_bucket="c", presentation_bucket="p", control_table=control_table)
    return Connection(clients.__getitem__, places, is_local=False)


@pytest.fixture
def pipeline(
    s3: S3Client, dynamodb: DynamoDBClient, raw_bucket: str, control_table: str, monkeypatch: pytest.MonkeyPatch
) -> Pipeline:
    """The Lambda `start_jobs` with its surroundings; its handler finds them where it looks for those of AWS."""
    found = Pipeline(s3, dynamodb, raw_bucket, control_table)
    monkeypatch.setattr(handler, "build_trigger", found.trigger)
    return found
