"""The micro-batch sink: parquet, rejects and, last of all, the manifest that makes them count.

What must hold: a batch of one checkpoint generation commits once. Each attempt writes into a folder of its own; the
first manifest wins, so a replay after a crash, or a driver that should be dead, changes nothing.
"""

from __future__ import annotations

import json
import logging
import uuid
from dataclasses import dataclass
from functools import cached_property

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakehouse import layout
from lakehouse.batches import BatchFile, BatchId, Manifest, commit_manifest, list_files, read_manifest
from lakehouse.jobs import Run
from lakehouse.settings import IngestSettings
from streaming_jobs.parsing import accepted_listens, parse_records, rejected_records

logger = logging.getLogger(__name__)

ROWS_PER_FILE = 500_000


@dataclass(frozen=True)
class MicroBatchSink:
    """Writes the micro-batches of one query; hand `write` to `foreachBatch`."""

    run: Run[IngestSettings]

    @cached_property
    def generation(self) -> str:
        """Identity of the checkpoint: a new checkpoint counts batches from zero and must not touch old ones."""
        key = f"{layout.INGEST_CHECKPOINT}metadata"
        body = self.run.s3.get_object(Bucket=self.run.settings.raw_bucket, Key=key)["Body"].read()
        return str(json.loads(body)["id"])

    def write(self, records: DataFrame, number: int) -> None:
        """Write micro-batch `number`, unless it is already committed."""
        batch = BatchId(self.generation, str(number))
        if read_manifest(self.run.s3, self.run.settings.raw_bucket, batch.manifest_key):
            logger.info("batch is committed already", extra={"batch": batch.path})
            return
        # Without the cache, the second action below would read the stream again.
        parsed = parse_records(records).persist()
        try:
            # Collects one row per reason, a dozen at most.
            counted = parsed.groupBy("reject_reason").agg(F.count("*").alias("rows")).collect()
            rows_by_reason = {row["reject_reason"]: int(row["rows"]) for row in counted}
            if rows_by_reason:
                self._commit(batch, parsed, rows_by_reason)
        finally:
            parsed.unpersist()

    def _commit(self, batch: BatchId, parsed: DataFrame, rows_by_reason: dict[str | None, int]) -> None:
        attempt = f"attempt={uuid.uuid4().hex[:12]}"
        rejected = {reason: rows for reason, rows in rows_by_reason.items() if reason}
        accepted = rows_by_reason.get(None, 0)
        listens: tuple[BatchFile, ...] = ()
        rejects: tuple[BatchFile, ...] = ()
        if accepted:
            folder = f"{layout.PROCESSED}{batch.path}{attempt}/"
            files = -(-accepted // ROWS_PER_FILE)
            accepted_listens(parsed).coalesce(files).write.parquet(self._uri(folder))
            listens = self._files(folder, ".parquet")
        self.run.boundaries.passed("listens_written")
        if rejected:
            folder = f"{layout.BAD_RECORDS}{layout.INGEST_JOB}/{batch.path}{attempt}/"
            rejected_records(parsed, batch.path).coalesce(1).write.json(self._uri(folder))
            rejects = self._files(folder, ".json")
        self.run.boundaries.passed("data_written")
        self.run.lease.check()
        manifest = Manifest(
            id=batch,
            attempt=attempt,
            files=listens,
            rejects=rejects,
            rows=accepted,
            rejected=rejected,
            committed_at=self.run.now(),
            run_id=self.run.id,
        )
        won = commit_manifest(self.run.s3, self.run.settings.raw_bucket, manifest)
        self.run.boundaries.passed("manifest_written")
        logger.info(
            "micro-batch", extra={"batch": batch.path, "accepted": accepted, "rejected": rejected, "committed": won}
        )

    def _uri(self, key: str) -> str:
        return layout.uri(self.run.settings.raw_bucket, key)

    def _files(self, folder: str, suffix: str) -> tuple[BatchFile, ...]:
        found = list_files(self.run.s3, self.run.settings.raw_bucket, folder)
        return tuple(file for file, _ in found if file.key.endswith(suffix))
