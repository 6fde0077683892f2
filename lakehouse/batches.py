"""Batches under `processed-streams/`: what the streaming job commits and `batch_transform` consumes.

A micro-batch is a folder `generation=G/batch=N/` whose `_MANIFEST.json`, written last and only if absent, names
exactly the files that belong to it; anything else in the folder is an attempt that lost. A parquet file put by hand
directly under `processed-streams/` is a batch by itself, identified by its name and ETag.

`_TRANSFORMED.json` beside a manifest says that the batch is merged and its rejects are written. A batch is gone when
its manifest is gone: it goes last.
"""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from lakehouse import layout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client

BY_HAND: Final = "by-hand"
READ_THREADS: Final = 8
UNSAFE: Final = re.compile("[^A-Za-z0-9._-]")
CONFLICT_TRIES: Final = 10


@dataclass(frozen=True, order=True)
class BatchId:
    """Identity of a batch: checkpoint generation and batch number, or `by-hand` and the file's name and ETag.

    A CSV file has `drops` and a name made of its key and ETag (`lakehouse.drops`).
    """

    generation: str
    batch: str

    @property
    def path(self) -> str:
        """The folder of this batch, relative to any stage's prefix."""
        return f"generation={self.generation}/batch={self.batch}/"

    @property
    def manifest_key(self) -> str:
        """Key of the micro-batch's manifest."""
        return f"{layout.PROCESSED}{self.path}{layout.MANIFEST}"

    @property
    def archived_key(self) -> str:
        """Key of the archive's own manifest: it proves that the batch was merged and copied."""
        return f"{layout.ARCHIVES}{self.path}{layout.MANIFEST}"

    @property
    def transformed_key(self) -> str:
        """Key of the marker that the batch is merged."""
        return f"{layout.PROCESSED}{self.path}{layout.TRANSFORMED}"


@dataclass(frozen=True)
class BatchFile:
    """One data file of a batch."""

    key: str
    size: int
    etag: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What belongs to a batch.

    Attributes:
        id: The batch.
        attempt: Name of the attempt that won; empty for a file put by hand.
        files: Parquet files of accepted listens.
        rejects: JSON-lines files of rejected records under `bad-records/`.
        rows: Accepted listens, duplicates included; None where nobody has counted (a file put by hand).
        rejected: Rejected records by reason.
        committed_at: When the manifest was written.
        run_id: The run that wrote it.
    """

    id: BatchId
    attempt: str
    files: tuple[BatchFile, ...]
    rejects: tuple[BatchFile, ...] = ()
    rows: int | None
    rejected: dict[str, int] = field(default_factory=dict)
    committed_at: datetime
    run_id: str = ""

    def to_json(self) -> str:
        """Return the manifest as JSON."""
        return json.dumps(asdict(self), default=datetime.isoformat, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """Read what `to_json` wrote."""
        value: dict[str, Any] = json.loads(text)
        return cls(
            id=BatchId(**value["id"]),
            attempt=value["attempt"],
            files=tuple(BatchFile(**entry) for entry in value["files"]),
            rejects=tuple(BatchFile(**entry) for entry in value["rejects"]),
            rows=value["rows"],
            rejected=value["rejected"],
            committed_at=datetime.fromisoformat(value["committed_at"]),
            run_id=value["run_id"],
        )


def list_files(
    s3: S3Client, bucket: str, prefix: str, *, start_after: str = ""
) -> Iterator[tuple[BatchFile, datetime]]:
    """Yield every object under `prefix` with its time of writing, page by page, in key order."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, StartAfter=start_after)
    for page in pages:
        for entry in page.get("Contents", []):
            yield BatchFile(entry["Key"], entry["Size"], entry["ETag"].strip('"')), entry["LastModified"]


def commit_manifest(s3: S3Client, bucket: str, manifest: Manifest) -> bool:
    """Make the batch visible, unless an earlier attempt has done so already.

    Returns:
        False when the batch had a manifest of another attempt: this one lost and its files count for nothing.
    """
    for tries_left in reversed(range(CONFLICT_TRIES)):
        try:
            s3.put_object(
                Bucket=bucket,
                Key=manifest.id.manifest_key,
                Body=manifest.to_json().encode(),
                ContentType="application/json",
                IfNoneMatch="*",
            )
            break
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == "PreconditionFailed":
                # The SDK repeats a put whose answer was lost: the manifest it then meets may be our own.
                committed = read_manifest(s3, bucket, manifest.id.manifest_key)
                return committed is not None and committed.attempt == manifest.attempt
            # A conflict means that another request for this key was under way; it says nothing of how that ended.
            if code != "ConditionalRequestConflict" or not tries_left:
                raise
    return True


def read_manifest(s3: S3Client, bucket: str, key: str) -> Manifest | None:
    """Return the manifest at `key`, or None when there is none."""
    try:
        return Manifest.from_json(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchKey":
            return None
        raise


def list_transformed(s3: S3Client, bucket: str) -> set[str]:
    """Return the keys of all `_TRANSFORMED.json` markers: these batches are merged and wait for the archive."""
    found = list_files(s3, bucket, f"{layout.PROCESSED}generation=")
    return {entry.key for entry, _ in found if entry.key.endswith("/" + layout.TRANSFORMED)}


def has_pending(s3: S3Client, bucket: str) -> bool:
    """Tell whether any batch waits under `processed-streams/`; reads pages only until the first one."""
    return any(is_batch_key(entry.key) for entry, _ in list_files(s3, bucket, layout.PROCESSED))


def list_pending(s3: S3Client, bucket: str) -> list[Manifest]:
    """Return every complete batch under `processed-streams/`, oldest first."""
    manifest_keys: list[str] = []
    by_hand: list[Manifest] = []
    for entry, written_at in list_files(s3, bucket, layout.PROCESSED):
        if entry.key.endswith("/" + layout.MANIFEST):
            manifest_keys.append(entry.key)
        elif _is_put_by_hand(entry.key):
            name = UNSAFE.sub("_", entry.key.removeprefix(layout.PROCESSED).removesuffix(".parquet"))
            by_hand.append(
                Manifest(
                    id=BatchId(BY_HAND, f"{name}-{entry.etag}"),
                    attempt="",
                    files=(entry,),
                    rows=None,
                    committed_at=written_at,
                )
            )
    with ThreadPoolExecutor(READ_THREADS) as pool:
        read = pool.map(lambda key: read_manifest(s3, bucket, key), manifest_keys)
        found = [manifest for manifest in read if manifest]
    return sorted(found + by_hand, key=lambda manifest: (manifest.committed_at, manifest.id))


def is_batch_key(key: str) -> bool:
    """Tell whether an object under this key makes a batch visible: a manifest, or a parquet file put by hand."""
    return key.startswith(layout.PROCESSED) and (key.endswith("/" + layout.MANIFEST) or _is_put_by_hand(key))


def _is_put_by_hand(key: str) -> bool:
    name = key.removeprefix(layout.PROCESSED)
    return "/" not in name and name.endswith(".parquet")
