"""Files of consumed listens (moto): every listen in one of them, and an action for each."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_jobs import archive_files
from batch_jobs.archive_files import ArchiveFiles

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@pytest.mark.parametrize(("sizes", "files"), [((), 0), ((0,), 0), ((1, 1, 1), 1), ((4, 1), 2), ((2, 2, 4, 0), 2)])
def test_a_task_writes_a_file_whenever_it_has_enough_for_one(
    s3: S3Client, raw_bucket: str, sizes: tuple[int, ...], files: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_files, "BYTES_PER_FILE", 4 * 8)
    monkeypatch.setattr(archive_files, "s3_of_task", lambda: s3)
    begins = [sum(sizes[:number]) for number in range(len(sizes))]
    ids = [pa.array(range(begin, begin + size), pa.int64()) for begin, size in zip(begins, sizes, strict=True)]
    listens = [pa.RecordBatch.from_arrays([some], ["user_id"]) for some in ids]

    handed = ArchiveFiles(raw_bucket, "archive/", 7).write_in_task(listens)
    added = [json.loads(row["added"]) for batch in handed for row in batch.to_pylist()]
    assert len(added) == files
    found = []
    for action in added:
        assert action["path"].startswith("consumed_version=7/")
        assert action["partitionValues"] == {"consumed_version": "7"}
        body = s3.get_object(Bucket=raw_bucket, Key=f"archive/{action['path']}")["Body"].read()
        rows = pq.read_table(io.BytesIO(body))["user_id"].to_pylist()
        assert (action["size"], json.loads(action["stats"])) == (len(body), {"numRecords": len(rows)})
        found += rows
    assert found == list(range(sum(sizes)))
    assert s3.list_objects_v2(Bucket=raw_bucket)["KeyCount"] == files
