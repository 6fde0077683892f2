"""CSV files of listens that somebody puts under `streams/`: which there are, and which of them are ingested.

What must hold: a file counts once per key and content version (ETag), so a corrected file of the same name is new. It
becomes one batch, whose name is made of both. A marker beside the checkpoint says that the batch is committed; the
batch's own manifest, waiting or archived, says so as well, should a run have died before it put the marker.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from lakehouse import layout
from lakehouse.batches import UNSAFE, BatchFile, BatchId, Manifest, list_files, read_manifest

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

GENERATION: Final = "drops"
SUFFIX: Final = ".csv"
_NAME_CHARACTERS: Final = 80
_DIGEST_DIGITS: Final = 16


@dataclass(frozen=True)
class Drop:
    """One content version of one file.

    Attributes:
        file: The object.
        dropped_at: When it was written: the arrival of all its listens.
    """

    file: BatchFile
    dropped_at: datetime

    @property
    def batch(self) -> BatchId:
        """The batch that this file becomes: its name for people, then what identifies key and ETag."""
        name = UNSAFE.sub("_", self.file.key.removeprefix(layout.DROPS)[: -len(SUFFIX)])[:_NAME_CHARACTERS]
        digest = hashlib.sha256(f"{self.file.key}\n{self.file.etag}".encode()).hexdigest()[:_DIGEST_DIGITS]
        return BatchId(GENERATION, f"{name}-{digest}")

    @property
    def marker_key(self) -> str:
        """Key of the marker that this file is ingested."""
        return f"{layout.INGESTED_DROPS}{self.batch.batch}.json"


def list_drops(s3: S3Client, bucket: str) -> Iterator[Drop]:
    """Yield every `*.csv` under `streams/`, at any depth, in order of key."""
    for file, written_at in list_files(s3, bucket, layout.DROPS):
        if file.key.lower().endswith(SUFFIX):
            yield Drop(file, written_at)


def list_markers(s3: S3Client, bucket: str) -> set[str]:
    """Return the keys of all markers."""
    return {file.key for file, _ in list_files(s3, bucket, layout.INGESTED_DROPS)}


def find_manifest(s3: S3Client, bucket: str, drop: Drop) -> Manifest | None:
    """Return the manifest of the file's batch, waiting or archived; None if it is not committed.

    The archive is asked last: a batch is there before it is gone from `processed-streams/`.
    """
    waiting = read_manifest(s3, bucket, drop.batch.manifest_key)
    return waiting or read_manifest(s3, bucket, drop.batch.archived_key)


def mark(s3: S3Client, bucket: str, drop: Drop) -> None:
    """Put the file's marker; once more is the same."""
    body = {"file": asdict(drop.file), "dropped_at": drop.dropped_at.isoformat(), "batch": drop.batch.path}
    s3.put_object(Bucket=bucket, Key=drop.marker_key, Body=json.dumps(body).encode(), ContentType="application/json")
