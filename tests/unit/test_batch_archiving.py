"""Moving merged batches to the archive (moto): any prefix of the moves can be repeated."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pytest

from batch_jobs.archiving import Archive, quarantine
from batch_jobs.objects import delete_all
from lakehouse.batches import BatchFile, BatchId, Manifest, commit_manifest, list_files, list_pending
from lakehouse.boundaries import Boundaries

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

WHEN: Final = datetime(2024, 6, 25, tzinfo=UTC)
BOUNDARIES: Final = ("copied", "archived", "deleted")


class CrashError(Exception):
    pass


def put(s3: S3Client, bucket: str, key: str, body: bytes) -> BatchFile:
    etag = s3.put_object(Bucket=bucket, Key=key, Body=body)["ETag"].strip('"')
    return BatchFile(key, len(body), etag)


def put_batch(s3: S3Client, bucket: str, number: int, *, files: int = 1) -> Manifest:
    """A merged micro-batch beside an attempt that lost, whose rejects lie under bad-records/ too."""
    batch = BatchId("g1", str(number))
    folder, bad = f"processed-streams/{batch.path}", f"bad-records/ingest_listens/{batch.path}"
    for attempt in ("attempt=lost", "attempt=won"):
        put(s3, bucket, f"{bad}{attempt}/part-0.json", attempt.encode())
        put(s3, bucket, f"{folder}{attempt}/_SUCCESS", b"")
    put(s3, bucket, f"{folder}attempt=lost/part-0.parquet", b"lost")
    won = [put(s3, bucket, f"{folder}attempt=won/part-{n}.parquet", f"{number}/{n}".encode()) for n in range(files)]
    manifest = Manifest(id=batch, attempt="attempt=won", files=tuple(won), rows=1, committed_at=WHEN)
    assert commit_manifest(s3, bucket, manifest)
    put(s3, bucket, batch.transformed_key, b"{}")
    return manifest


def contents(s3: S3Client, bucket: str, prefix: str) -> dict[str, bytes]:
    keys = [file.key for file, _ in list_files(s3, bucket, prefix)]
    return {key: s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}


def archive(s3: S3Client, bucket: str, kill_at: str = "-") -> Archive:
    def crash() -> None:
        raise CrashError(kill_at)

    return Archive(s3, bucket, Boundaries(kill_at, kill=crash))


def check_archived(s3: S3Client, bucket: str, manifests: list[Manifest]) -> None:
    assert contents(s3, bucket, "processed-streams/") == {}
    found = contents(s3, bucket, "archives/")
    expected = {}
    for manifest in manifests:
        folder = f"archives/{manifest.id.path}"
        for number, _ in enumerate(manifest.files):
            expected[f"{folder}attempt=won/part-{number}.parquet"] = f"{manifest.id.batch}/{number}".encode()
        assert Manifest.from_json(found.pop(f"{folder}_MANIFEST.json")) == manifest
    assert found == expected
    rejects = set(contents(s3, bucket, "bad-records/").values())
    assert rejects == {b"attempt=won"}, "rejects of the attempt that lost would count twice"


def test_batches_move_with_exactly_the_files_of_their_manifest(s3: S3Client, raw_bucket: str) -> None:
    manifests = [put_batch(s3, raw_bucket, number, files=2) for number in range(3)]
    assert archive(s3, raw_bucket).store(manifests) == 6
    check_archived(s3, raw_bucket, manifests)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_a_crash_at_any_boundary_is_repaired_by_running_again(s3: S3Client, raw_bucket: str, boundary: str) -> None:
    manifests = [put_batch(s3, raw_bucket, number) for number in range(2)]
    with pytest.raises(CrashError):
        archive(s3, raw_bucket, boundary).store(manifests)
    pending = list_pending(s3, raw_bucket)
    assert [one.id for one in pending] == ([] if boundary == "deleted" else [one.id for one in manifests])
    archive(s3, raw_bucket).store(pending)
    check_archived(s3, raw_bucket, manifests)


class DyingS3:
    """S3 whose caller dies at the nth call that deletes something."""

    def __init__(self, client: S3Client, calls: int) -> None:
        self.client, self.calls = client, calls

    def __getattr__(self, name: str) -> Any:
        if name.startswith("delete"):
            if self.calls == 0:
                raise CrashError(name)
            self.calls -= 1
        return getattr(self.client, name)


@pytest.mark.parametrize("calls", range(4))
def test_a_crash_between_any_two_deletions_leaves_a_batch_that_is_known_to_be_merged(
    s3: S3Client, raw_bucket: str, calls: int
) -> None:
    manifest = put_batch(s3, raw_bucket, 0)
    dying: Any = DyingS3(s3, calls)
    died = False
    try:
        archive(dying, raw_bucket).store([manifest])
    except CrashError:
        died = True
    assert died == (calls < 3), "data and lost rejects, marker, manifest: three calls"
    pending = list_pending(s3, raw_bucket)
    keys = contents(s3, raw_bucket, "processed-streams/")
    assert bool(pending) == bool(keys), "while anything is left, the manifest is, for it goes last"
    for one in pending:
        assert archive(s3, raw_bucket).holds(one.id), "or its listens would be merged a second time"
    archive(s3, raw_bucket).store(pending)
    check_archived(s3, raw_bucket, [manifest])


def test_more_than_1000_objects_under_a_prefix(s3: S3Client, raw_bucket: str) -> None:
    manifest = put_batch(s3, raw_bucket, 0, files=1_005)
    assert archive(s3, raw_bucket).store([manifest]) == 1_005
    check_archived(s3, raw_bucket, [manifest])


def test_a_refused_deletion_is_no_success() -> None:
    class Refusing:
        def delete_objects(self, **_: Any) -> Any:
            return {"Errors": [{"Key": "k", "Code": "AccessDenied"}]}

    refusing: Any = Refusing()
    with pytest.raises(RuntimeError, match="did not delete k: AccessDenied"):
        delete_all(refusing, "bucket", ["k"])


def test_an_unreadable_file_is_kept_whole_beside_its_reason(s3: S3Client, raw_bucket: str) -> None:
    file = put(s3, raw_bucket, "processed-streams/notes.parquet", b"no parquet")
    [manifest] = list_pending(s3, raw_bucket)
    for _ in range(2):
        quarantine(s3, raw_bucket, manifest)
    folder = f"bad-records/batch_transform/unreadable-files/notes-{file.etag}/"
    found = contents(s3, raw_bucket, "bad-records/")
    assert found.keys() == {f"{folder}notes.parquet", f"{folder}reason.json"}
    assert found[f"{folder}notes.parquet"] == b"no parquet"
    told = json.loads(found[f"{folder}reason.json"])
    assert (told["reason"], told["stream"]) == ("unreadable_file", "processed-streams/notes.parquet")
