"""When a pipeline is quiet: what moves on while it is looked at is not missed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from lakehouse.batches import BatchId, Manifest, commit_manifest
from lakehouse.settings import Places
from listenlake import pipeline as pipeline_module
from listenlake.connection import Connection
from listenlake.pipeline import Pipeline

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

MANIFEST = Manifest(
    id=BatchId("g", "1"),
    attempt="a",
    files=(),
    rows=90,
    rejected={"oversize": 10},
    committed_at=datetime(2024, 6, 26, tzinfo=UTC),
)


class FakeGlue:
    """Glue without a run."""

    def get_paginator(self, _operation: str) -> FakeGlue:
        return self

    def paginate(self, **_: Any) -> list[dict[str, Any]]:
        return [{"JobRuns": []}]


@pytest.fixture
def looked_at(s3: S3Client, dynamodb: DynamoDBClient, raw_bucket: str, control_table: str) -> Pipeline:
    clients: dict[str, Any] = {"s3": s3, "dynamodb": dynamodb, "glue": FakeGlue(), "lambda": None}
    places = Places(raw_bucket=raw_bucket, curated_bucket="c", presentation_bucket="p", control_table=control_table)
    return Pipeline(Connection(clients.__getitem__, places, is_local=False))


def test_a_batch_that_is_committed_between_the_looks_keeps_a_pipeline_from_being_quiet(
    looked_at: Pipeline, s3: S3Client, raw_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(*_: Any) -> bool:
        commit_manifest(s3, raw_bucket, MANIFEST)
        return False

    with monkeypatch.context() as patch:
        patch.setattr(pipeline_module, "has_pending", look)
        assert not looked_at.outstanding().is_quiet(expected=100)
    now = looked_at.outstanding()
    assert (now.ingested, now.pending, now.is_quiet(expected=100)) == (100, True, False)
    s3.copy_object(
        Bucket=raw_bucket,
        Key=MANIFEST.id.archived_key,
        CopySource={"Bucket": raw_bucket, "Key": MANIFEST.id.manifest_key},
    )
    s3.delete_object(Bucket=raw_bucket, Key=MANIFEST.id.manifest_key)
    assert looked_at.outstanding().is_quiet(expected=100)
