"""Batches on S3 (moto): who commits, what is pending, what is noise."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest
from botocore.exceptions import ClientError

from lakehouse import batches, layout
from lakehouse.batches import BatchFile, BatchId, Manifest

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

START = datetime(2024, 6, 25, 12, 0, 0, 250_000, tzinfo=UTC)


def build_manifest(number: int, attempt: str = "a1", *, minutes: int = 0) -> Manifest:
    batch = BatchId("g1", str(number))
    return Manifest(
        id=batch,
        attempt=attempt,
        files=(BatchFile(f"{layout.PROCESSED}{batch.path}attempt={attempt}/part-0.parquet", 10, "e1"),),
        rejects=(BatchFile(f"{layout.BAD_RECORDS}{batch.path}attempt={attempt}/part-0.json", 3, "e2"),),
        rows=7,
        rejected={"invalid_json": 1},
        committed_at=START + timedelta(minutes=minutes),
        run_id="run-ü",
    )


class ConflictingS3:
    """S3 that answers the first conditional puts with a conflict."""

    def __init__(self, client: S3Client, conflicts: int) -> None:
        self.client, self.conflicts = client, conflicts

    def put_object(self, **arguments: Any) -> Any:
        if self.conflicts:
            self.conflicts -= 1
            raise ClientError({"Error": {"Code": "ConditionalRequestConflict", "Message": ""}}, "PutObject")
        return self.client.put_object(**arguments)

    def get_object(self, **arguments: Any) -> Any:
        return self.client.get_object(**arguments)


def test_a_manifest_round_trips() -> None:
    manifest = build_manifest(3)
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_the_first_manifest_of_a_batch_wins(s3: S3Client, raw_bucket: str) -> None:
    first, second = build_manifest(1, "first"), build_manifest(1, "second")
    assert batches.commit_manifest(s3, raw_bucket, first)
    assert not batches.commit_manifest(s3, raw_bucket, second)
    key = "processed-streams/generation=g1/batch=1/_MANIFEST.json"
    assert batches.read_manifest(s3, raw_bucket, key) == first


def test_an_attempt_that_meets_its_own_manifest_has_won(s3: S3Client, raw_bucket: str) -> None:
    assert batches.commit_manifest(s3, raw_bucket, build_manifest(1))
    assert batches.commit_manifest(s3, raw_bucket, build_manifest(1, minutes=1))


def test_a_conflict_is_no_answer(s3: S3Client, raw_bucket: str) -> None:
    first, second = build_manifest(1, "first"), build_manifest(1, "second")
    assert batches.commit_manifest(cast("Any", ConflictingS3(s3, 2)), raw_bucket, first)
    assert not batches.commit_manifest(cast("Any", ConflictingS3(s3, 2)), raw_bucket, second)
    with pytest.raises(ClientError, match="ConditionalRequestConflict"):
        batches.commit_manifest(cast("Any", ConflictingS3(s3, 10_000)), raw_bucket, build_manifest(2))
    assert batches.list_pending(s3, raw_bucket) == [first]


def test_another_failure_of_the_commit_is_raised(s3: S3Client) -> None:
    with pytest.raises(ClientError, match="NoSuchBucket"):
        batches.commit_manifest(s3, "no-such-bucket", build_manifest(1))


def test_a_manifest_that_is_gone_is_none(s3: S3Client, raw_bucket: str) -> None:
    assert batches.read_manifest(s3, raw_bucket, BatchId("g1", "1").manifest_key) is None


def test_pending_are_manifests_and_files_put_by_hand_but_no_files_of_attempts(s3: S3Client, raw_bucket: str) -> None:
    """Beyond the 1,000 keys of one page, in the order of commits and not of keys."""
    noise = [f"{layout.PROCESSED}generation=g1/batch=5/attempt=x/part-{n:05}.parquet" for n in range(1_005)]
    noise += [
        f"{layout.PROCESSED}generation=g1/batch=1/{layout.TRANSFORMED}",
        f"{layout.PROCESSED}notes.txt",
        f"{layout.PROCESSED}folder/by-hand.parquet",
        f"{layout.ARCHIVES}generation=g1/batch=0/{layout.MANIFEST}",
    ]
    for key in noise:
        s3.put_object(Bucket=raw_bucket, Key=key, Body=b"")
    assert not batches.has_pending(s3, raw_bucket)
    assert batches.list_pending(s3, raw_bucket) == []

    committed = [build_manifest(number, minutes=-number) for number in (9, 10)]
    for manifest in committed:
        batches.commit_manifest(s3, raw_bucket, manifest)
    etag = s3.put_object(Bucket=raw_bucket, Key=f"{layout.PROCESSED}old listens.parquet", Body=b"abc")["ETag"].strip(
        '"'
    )
    assert batches.has_pending(s3, raw_bucket)
    ten, nine, by_hand = batches.list_pending(s3, raw_bucket)
    assert [nine, ten] == committed
    assert by_hand.id == BatchId("by-hand", f"old_listens-{etag}")
    assert by_hand.files == (BatchFile("processed-streams/old listens.parquet", 3, etag),)
    assert (by_hand.rows, by_hand.rejects) == (None, ())


def test_a_file_put_by_hand_again_with_other_bytes_is_another_batch(s3: S3Client, raw_bucket: str) -> None:
    seen = set()
    for body in (b"one", b"two", b"one"):
        s3.put_object(Bucket=raw_bucket, Key=f"{layout.PROCESSED}a.parquet", Body=body)
        seen |= {manifest.id for manifest in batches.list_pending(s3, raw_bucket)}
    assert len(seen) == 2


@pytest.mark.parametrize("key", ["a.parquet", "processed-streams/a/b.parquet", "x/processed-streams/a.parquet"])
def test_only_keys_under_processed_streams_are_batches(key: str) -> None:
    assert not batches.is_batch_key(key)
