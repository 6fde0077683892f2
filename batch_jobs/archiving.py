"""Move merged batches from `processed-streams/` to `archives/`, each so that any prefix of the moves can be repeated.

Copies first, the archive's own manifest next, then the data and the attempts that lost are deleted, the manifest last:
while it is there, the batch is there. An archived manifest therefore proves that the batch was merged and copied.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from batch_jobs.objects import S3_CALLS_AT_ONCE, delete_all
from lakehouse import events, layout
from lakehouse.batches import BY_HAND, BatchFile, BatchId, Manifest, list_files, read_manifest
from lakehouse.boundaries import Boundaries

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Archive:
    """Archives batches of one bucket."""

    s3: S3Client
    bucket: str
    boundaries: Boundaries

    def holds(self, batch: BatchId) -> bool:
        """Tell whether the batch is merged and wholly copied."""
        return read_manifest(self.s3, self.bucket, batch.archived_key) is not None

    def store(self, manifests: Sequence[Manifest]) -> int:
        """Archive batches that are merged; returns how many objects were copied."""
        with ThreadPoolExecutor(S3_CALLS_AT_ONCE) as pool:
            waiting = [
                one
                for one, held in zip(manifests, pool.map(self.holds, [m.id for m in manifests]), strict=True)
                if not held
            ]
            pairs = [(manifest, file) for manifest in waiting for file in manifest.files]
            # list() raises what a copy raised.
            list(pool.map(lambda pair: self._copy(*pair), pairs))
            self.boundaries.passed("copied")
            list(pool.map(self._put_manifest, waiting))
            self.boundaries.passed("archived")
            list(pool.map(self._delete, manifests))
        self.boundaries.passed("deleted")
        return len(pairs)

    def _copy(self, manifest: Manifest, file: BatchFile) -> None:
        name = file.key.removeprefix(layout.PROCESSED).removeprefix(manifest.id.path)
        self.s3.copy_object(
            Bucket=self.bucket,
            Key=f"{layout.ARCHIVES}{manifest.id.path}{name}",
            CopySource={"Bucket": self.bucket, "Key": file.key},
            CopySourceIfMatch=file.etag,
        )

    def _put_manifest(self, manifest: Manifest) -> None:
        body = manifest.to_json().encode()
        self.s3.put_object(Bucket=self.bucket, Key=manifest.id.archived_key, Body=body)

    def _delete(self, manifest: Manifest) -> None:
        batch = manifest.id
        folder = [file.key for file, _ in list_files(self.s3, self.bucket, f"{layout.PROCESSED}{batch.path}")]
        last = {batch.manifest_key, batch.transformed_key}
        delete_all(self.s3, self.bucket, [key for key in folder if key not in last] + self._lost_rejects(manifest))
        delete_all(self.s3, self.bucket, [batch.transformed_key])
        if batch.generation == BY_HAND:
            self._delete_by_hand(manifest.files[0])
        else:
            delete_all(self.s3, self.bucket, [batch.manifest_key])

    def _lost_rejects(self, manifest: Manifest) -> list[str]:
        """Rejects of attempts that lost: the same records were rejected by the attempt that won."""
        folder = f"{layout.BAD_RECORDS}{layout.INGEST_JOB}/{manifest.id.path}"
        found = list_files(self.s3, self.bucket, folder)
        return [file.key for file, _ in found if not file.key.startswith(f"{folder}{manifest.attempt}/")]

    def _delete_by_hand(self, file: BatchFile) -> None:
        """Delete a file put by hand, unless somebody has put another one in its place: that is a batch of its own."""
        try:
            self.s3.delete_object(Bucket=self.bucket, Key=file.key, IfMatch=file.etag)
        except ClientError as error:
            if error.response["Error"]["Code"] not in {"PreconditionFailed", "NoSuchKey", "404"}:
                raise
            logger.warning("file was replaced while it was read", extra={"file": file.key})


def quarantine(s3: S3Client, bucket: str, manifest: Manifest) -> None:
    """Copy a file that can't be read to `bad-records/`, whole, beside its reason; the archive removes the original."""
    [file] = manifest.files
    name = file.key.removeprefix(layout.PROCESSED)
    folder = f"{layout.BAD_RECORDS}{layout.TRANSFORM_JOB}/unreadable-files/{manifest.id.batch}/"
    s3.copy_object(Bucket=bucket, Key=f"{folder}{name}", CopySource={"Bucket": bucket, "Key": file.key})
    reason = "unreadable_file"
    record = {"reason": reason, "message": events.ENRICHMENT_REASONS[reason], "stream": file.key, "shard_id": file.etag}
    s3.put_object(Bucket=bucket, Key=f"{folder}reason.json", Body=json.dumps(record).encode() + b"\n")
