"""The micro-batch sink: parquet, rejects and, last of all, the manifest that makes them count.

What must hold: a batch of one checkpoint generation commits once. Each attempt writes into a folder of its own; the
first manifest wins, so a replay after a crash, or a driver that should be dead, changes nothing. A batch that fails
whatever is tried is written in parts, without the records that fail alone; it still commits once, as a whole.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from pyspark.sql import DataFrame

from lakehouse import layout
from lakehouse.batch_reports import BatchReport, BatchReports
from lakehouse.batches import BatchId, Manifest, commit_manifest, read_manifest
from lakehouse.errors import ListenlakeError
from lakehouse.jobs import Report, Run
from lakehouse.settings import IngestSettings
from streaming_jobs.batch_metrics import embedded
from streaming_jobs.batch_parts import Part
from streaming_jobs.outcome_files import Judge, PartWriter
from streaming_jobs.parsing import parse_batches, placed
from streaming_jobs.stream_sources import GLUE
from streaming_jobs.unprocessable import SPARK_FAILURES, class_of_failure, write_without_unprocessable

logger = logging.getLogger(__name__)


class BatchInterruptedError(ListenlakeError):
    """A micro-batch that keeps failing was asked to stop."""


@dataclass(frozen=True)
class MicroBatchSink:
    """Writes the micro-batches of one query; hand `write` to `foreachBatch`.

    Attributes:
        run: The job's run.
        judge: Judges records, as `parse_batches` does.
        is_stopping: Tells whether the run was asked to stop.
    """

    run: Run[IngestSettings]
    judge: Judge = parse_batches
    is_stopping: Callable[[], bool] = lambda: False

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
            return
        writer = PartWriter(run=self.run, batch=batch, report=Report())
        attempt, part = self._write_data(writer, records)
        self._commit(writer, attempt, part)

    def pass_over(self, committed: Manifest) -> None:
        """Do what is left of a batch that is committed.

        The run that committed it may have died before it told; what it measured is lost then, its counts are not.
        """
        logger.info("batch is committed already", extra={"batch": committed.id.path})
        self._reports.publish(BatchReport.of(committed))

    def write_batch(self, batch: BatchId, judged: DataFrame) -> None:
        """Write judged events (columns of `parsing.PARSED`) as `batch`; one without events leaves nothing."""
        writer = PartWriter(run=self.run, batch=batch, report=Report())
        attempt = _new_attempt()
        self._commit(writer, attempt, writer.write(judged, f"{attempt}/", iter))

    def _write_data(self, writer: PartWriter, records: DataFrame) -> tuple[str, Part]:
        """Write the records, all at once or, when that has failed often enough, apart; return the attempt as well."""
        for number in range(1, self.run.settings.batch_tries + 1):
            attempt = _new_attempt()
            try:
                return attempt, writer.write(placed(records), f"{attempt}/", self.judge)
            except SPARK_FAILURES as error:
                failed = {"batch": writer.batch.path, "try": number, "error": class_of_failure(error)}
                logger.warning("micro-batch failed", extra=failed)
                if self.is_stopping():
                    raise
                self.run.lease.check()
        attempt = _new_attempt()
        return attempt, write_without_unprocessable(
            writer, placed(records), attempt, judge=self.judge, may_go_on=self._may_go_on
        )

    def _may_go_on(self) -> None:
        if self.is_stopping():
            raise BatchInterruptedError(
                expected="time to find the records that make a micro-batch fail",
                found="a request to stop",
                do="Nothing: the next run takes the batch up again.",
            )
        self.run.lease.check()

    def _commit(self, writer: PartWriter, attempt: str, part: Part) -> None:
        if not part.contents:
            return
        self.run.boundaries.passed("data_written")
        self.run.lease.check()
        manifest = Manifest(
            id=writer.batch,
            attempt=attempt,
            files=part.listens,
            rejects=part.rejects,
            rows=part.contents[None].rows if None in part.contents else 0,
            rejected={reason: content.rows for reason, content in part.contents.items() if reason},
            committed_at=self.run.now(),
            run_id=self.run.id,
        )
        with writer.report.phase("commit"):
            won = commit_manifest(self.run.s3, self.run.settings.raw_bucket, manifest)
        self.run.boundaries.passed("manifest_written")
        self._log(manifest, part, writer.report, won=won)

    def _log(self, manifest: Manifest, part: Part, report: Report, *, won: bool) -> None:
        contents = part.contents.values()
        told = replace(
            BatchReport.of(manifest),
            payload_bytes=sum(content.payload_bytes for content in contents),
            late_events=sum(content.late for content in contents),
            future_events=sum(content.future for content in contents),
            lag_seconds=round((manifest.committed_at - min(one.oldest for one in contents)).total_seconds(), 3),
            seconds=report.seconds,
        )
        figures = embedded(told, job=layout.INGEST_JOB)
        logger.info("micro-batch", extra={"batch": manifest.id.path, "committed": won, **figures})
        if won:
            self._reports.publish(told)

    @property
    def _reports(self) -> BatchReports:
        return BatchReports(self.run.dynamodb, self.run.settings.control_table, layout.INGEST_JOB)


def _new_attempt() -> str:
    return f"attempt={uuid.uuid4().hex[:12]}"
