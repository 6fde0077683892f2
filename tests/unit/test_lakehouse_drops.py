"""CSV files under `streams/` (moto): which count, what they are called, and how it is known that one is ingested."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import pytest

from lakehouse.batches import BatchFile, BatchId, Manifest
from lakehouse.drops import Drop, find_manifest, list_drops, list_markers, mark

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

WHEN: Final = datetime(2024, 6, 25, tzinfo=UTC)


def drop(key: str, etag: str = "e") -> Drop:
    return Drop(BatchFile(key, 1, etag), WHEN)


def test_every_csv_below_streams_is_a_drop_and_nothing_else(s3: S3Client, raw_bucket: str) -> None:
    keys = ["streams/", "streams/a.csv", "streams/2024/06/B.CSV", "streams/a.csv.gz", "streams/x/", "streams.csv"]
    for key in [*keys, "processed-streams/a.csv", "users/users.csv"]:
        s3.put_object(Bucket=raw_bucket, Key=key, Body=b"x")
    found = list(list_drops(s3, raw_bucket))
    assert [one.file.key for one in found] == ["streams/2024/06/B.CSV", "streams/a.csv"]
    assert all(one.dropped_at.tzinfo for one in found)


def test_a_batch_is_named_by_key_and_content_version() -> None:
    plain = drop("streams/june/streams 1.csv").batch
    assert plain.generation == "drops"
    assert re.fullmatch(r"june_streams_1-[0-9a-f]{16}", plain.batch)
    assert drop("streams/june/streams 1.csv").batch == plain
    others = [
        drop("streams/june/streams 1.csv", "f"),
        drop("streams/june_streams 1.csv"),
        drop("streams/june/streams 1.CSV"),
    ]
    assert len({plain, *(one.batch for one in others)}) == 4
    assert len({one.marker_key for one in others}) == 3
    longest = drop(f"streams/{'é' * 500}.csv").batch
    assert re.fullmatch(r"_{80}-[0-9a-f]{16}", longest.batch)


@pytest.mark.parametrize("place", ["processed-streams/", "archives/"])
def test_a_manifest_waiting_or_archived_proves_the_commit(s3: S3Client, raw_bucket: str, place: str) -> None:
    one, other = drop("streams/a.csv"), drop("streams/a.csv", "f")
    manifest = Manifest(id=BatchId("drops", one.batch.batch), attempt="a", files=(), rows=0, committed_at=WHEN)
    assert find_manifest(s3, raw_bucket, one) is None
    key = f"{place}generation=drops/batch={one.batch.batch}/_MANIFEST.json"
    s3.put_object(Bucket=raw_bucket, Key=key, Body=manifest.to_json().encode())
    assert find_manifest(s3, raw_bucket, one) == manifest
    assert find_manifest(s3, raw_bucket, other) is None


def test_a_marker_says_what_was_ingested(s3: S3Client, raw_bucket: str) -> None:
    one = drop("streams/a.csv")
    mark(s3, raw_bucket, one)
    mark(s3, raw_bucket, one)
    assert list_markers(s3, raw_bucket) == {one.marker_key}
    assert one.marker_key.startswith("checkpoints/ingest_listens/drops/a-")
    body = json.loads(s3.get_object(Bucket=raw_bucket, Key=one.marker_key)["Body"].read())
    assert body["file"] == {"key": "streams/a.csv", "size": 1, "etag": "e"}
