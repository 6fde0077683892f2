"""When a pipeline is quiet: what moves on while it is looked at is not missed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lakehouse.batches import BatchId, Manifest, commit_manifest
from listenlake import pipeline as pipeline_module
from listenlake.pipeline import Pipeline

if TYPE_CHECKING:
    import pytest
    from mypy_boto3_s3 import S3Client

    from listenlake.connection import Connection

MANIFEST = Manifest(
    id=BatchId("g", "1"),
    attempt="a",
    files=(),
    rows=90,
    rejected={"oversize": 10},
    committed_at=datetime(2024, 6, 26, tzinfo=UTC),
)


def test_a_batch_that_is_committed_between_the_looks_keeps_a_pipeline_from_being_quiet(
    connection: Connection, s3: S3Client, raw_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = Pipeline(connection)

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
