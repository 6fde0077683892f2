"""The micro-batch sink: parquet, rejects and, last of all, the manifest that makes them count.

What must hold: a batch of one checkpoint generation commits once. Each attempt writes into a folder of its own; the
first manifest wins, so a replay after a crash, or a driver that should be dead, changes nothing.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakehouse import layout
from lakehouse.batch_reports import BatchReport, BatchReports
from lakehouse.batches import BatchFile, BatchId, Manifest, commit_manifest, list_files, read_manifest
from lakehouse.jobs import Report, Run
from lakehouse.settings import IngestSettings
from streaming_jobs.batch_metrics import embedded
from streaming_jobs.parsing import accepted_listens, parse_records, rejected_records
from streaming_jobs.stream_sources import GLUE

logger = logging.getLogger(__name__)

PAYLOAD_BYTES_PER_FILE = 32 * 1024 * 1024
"""Decides how many files a batch becomes; measured in bytes of JSON, since parquet's are known only afterwards."""


@dataclass(frozen=True)
class Content:
    """The part of a batch that shares one outcome: events, their bytes, and the arrival of the oldest."""

    rows: int
    payload_bytes: int
    oldest: datetime


@dataclass(frozen=True)
class MicroBatchSink:
    """Writes the micro-batches of one query; hand `write` to `foreachBatch`."""

    run: Run[IngestSettings]

    @cached_property
    def generation(self) -> str:
        """Identity of the checkpoint: a new checkpoint counts batches from zero and must not touch old ones."""
        key = f"{layout.INGEST_CHECKPOINT}metadata"
        body = self.run.s3.get_object(Bucket=self.run.settings.raw_bucket, Key=key)["Body"].read()
        checkpoint = str(json.loads(body)["id"])
        # A replay by Glue's source may hold other records: it counts beside the first one, and the MERGE removes what
        # both hold.
        return checkpoint if self.run.settings.stream_source != GLUE else f"{checkpoint}-{self.run.id}"

    def write(self, records: DataFrame, number: int) -> None:
        """Write micro-batch `number`, unless it is already committed."""
        batch = BatchId(self.generation, str(number))
        if committed := read_manifest(self.run.s3, self.run.settings.raw_bucket, batch.manifest_key):
            self.pass_over(committed)
        else:
            self.write_batch(batch, parse_records(records))

    def pass_over(self, committed: Manifest) -> None:
        """Do what is left of a batch that is committed.

        The run that committed it may have died before it told; what it measured is lost then, its counts are not.
        """
        logger.info("batch is committed already", extra={"batch": committed.id.path})
        self._reports.publish(BatchReport.of(committed))

    def write_batch(self, batch: BatchId, events: DataFrame) -> None:
        """Write judged events (columns of `parse_records`) as `batch`; one without events leaves nothing."""
        report = Report()
        # Without the cache, the second action below would read the stream or the file again.
        parsed = events.persist()
        try:
            with report.phase("parse"):
                contents = _contents(parsed)
            self.run.boundaries.passed("records_fetched")
            if contents:
                self._commit(batch, parsed, contents, report)
        finally:
            parsed.unpersist()

    def _commit(self, batch: BatchId, parsed: DataFrame, contents: dict[str | None, Content], report: Report) -> None:
        attempt = f"attempt={uuid.uuid4().hex[:12]}"
        rejects_of = {reason: content for reason, content in contents.items() if reason}
        rejected = {reason: content.rows for reason, content in rejects_of.items()}
        listens: tuple[BatchFile, ...] = ()
        rejects: tuple[BatchFile, ...] = ()
        if None in contents:
            folder = f"{layout.PROCESSED}{batch.path}{attempt}/"
            with report.phase("listens"):
                frame = accepted_listens(parsed).coalesce(_file_count([contents[None]]))
                frame.write.parquet(self._uri(folder))
                listens = self._files(folder, ".parquet")
        self.run.boundaries.passed("listens_written")
        if rejected:
            folder = f"{layout.BAD_RECORDS}{layout.INGEST_JOB}/{batch.path}{attempt}/"
            with report.phase("rejects"):
                frame = rejected_records(parsed, batch.path).coalesce(_file_count(rejects_of.values()))
                frame.write.json(self._uri(folder))
                rejects = self._files(folder, ".json")
        self.run.boundaries.passed("data_written")
        self.run.lease.check()
        manifest = Manifest(
            id=batch,
            attempt=attempt,
            files=listens,
            rejects=rejects,
            rows=contents[None].rows if None in contents else 0,
            rejected=rejected,
            committed_at=self.run.now(),
            run_id=self.run.id,
        )
        with report.phase("commit"):
            won = commit_manifest(self.run.s3, self.run.settings.raw_bucket, manifest)
        self.run.boundaries.passed("manifest_written")
        self._log(manifest, contents, report, won=won)

    def _log(self, manifest: Manifest, contents: dict[str | None, Content], report: Report, *, won: bool) -> None:
        oldest = min(content.oldest for content in contents.values())
        told = replace(
            BatchReport.of(manifest),
            payload_bytes=sum(content.payload_bytes for content in contents.values()),
            lag_seconds=round((manifest.committed_at - oldest).total_seconds(), 3),
            seconds=report.seconds,
        )
        figures = embedded(told, job=layout.INGEST_JOB)
        logger.info("micro-batch", extra={"batch": manifest.id.path, "committed": won, **figures})
        if won:
            self._reports.publish(told)

    @property
    def _reports(self) -> BatchReports:
        return BatchReports(self.run.dynamodb, self.run.settings.control_table, layout.INGEST_JOB)

    def _uri(self, key: str) -> str:
        return layout.uri(self.run.settings.raw_bucket, key)

    def _files(self, folder: str, suffix: str) -> tuple[BatchFile, ...]:
        found = list_files(self.run.s3, self.run.settings.raw_bucket, folder)
        return tuple(file for file, _ in found if file.key.endswith(suffix))


def _contents(parsed: DataFrame) -> dict[str | None, Content]:
    """Return what there is of each reject reason, under None of listens; the first action, so it fills the cache."""
    counted = parsed.groupBy("reject_reason").agg(
        F.count("*").alias("rows"),
        F.sum("payload_bytes").alias("payload_bytes"),
        # Microseconds, as a timestamp would come out in the driver's zone.
        F.unix_micros(F.min("arrived_at")).alias("oldest"),
    )
    return {
        # Collects one row per reason, a dozen at most.
        row["reject_reason"]: Content(
            row["rows"], row["payload_bytes"], datetime.fromtimestamp(row["oldest"] / 1_000_000, UTC)
        )
        for row in counted.collect()
    }


def _file_count(contents: Iterable[Content]) -> int:
    return max(1, -(-sum(content.payload_bytes for content in contents) // PAYLOAD_BYTES_PER_FILE))
