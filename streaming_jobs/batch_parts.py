"""Writes the listens and rejects of some records of a micro-batch, usually all of them, below a folder of their own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakehouse import layout
from lakehouse.batches import BatchFile, BatchId, list_files
from streaming_jobs.parsing import accepted_listens, rejected_records
from streaming_jobs.timeliness import FUTURE, LATE

if TYPE_CHECKING:
    from lakehouse.jobs import Report, Run
    from lakehouse.settings import IngestSettings

PAYLOAD_BYTES_PER_FILE = 32 * 1024 * 1024
"""Decides how many files a batch becomes; measured in bytes of JSON, since parquet's are known only afterwards."""


@dataclass(frozen=True)
class Content:
    """The part of a batch that shares one outcome.

    Attributes:
        rows: Events.
        payload_bytes: Their bytes.
        oldest: Arrival of the oldest.
        late: How many came late, by the policy of the settings.
        future: How many came before their listen.
    """

    rows: int
    payload_bytes: int
    oldest: datetime
    late: int = 0
    future: int = 0

    def __add__(self, other: Content) -> Content:
        """Return both together."""
        return Content(
            rows=self.rows + other.rows,
            payload_bytes=self.payload_bytes + other.payload_bytes,
            oldest=min(self.oldest, other.oldest),
            late=self.late + other.late,
            future=self.future + other.future,
        )


@dataclass(frozen=True, kw_only=True)
class Part:
    """What became of some records.

    Attributes:
        listens: Parquet files of accepted listens.
        rejects: JSON-lines files of rejected records.
        contents: What there is of each reject reason; under None, of listens.
    """

    listens: tuple[BatchFile, ...] = ()
    rejects: tuple[BatchFile, ...] = ()
    contents: dict[str | None, Content]

    def __add__(self, other: Part) -> Part:
        """Return both together."""
        contents = dict(self.contents)
        for reason, content in other.contents.items():
            contents[reason] = contents[reason] + content if reason in contents else content
        return Part(listens=self.listens + other.listens, rejects=self.rejects + other.rejects, contents=contents)


@dataclass(frozen=True)
class PartWriter:
    """Writes parts of one micro-batch.

    Attributes:
        run: The job's run.
        batch: The micro-batch.
        report: Where the seconds of each phase are added up.
    """

    run: Run[IngestSettings]
    batch: BatchId
    report: Report

    def write(self, events: DataFrame, folder: str) -> Part:
        """Write judged events; nothing is written where there are none.

        Args:
            events: As `parsing.parse_records` returns them.
            folder: Below the batch's own folder, like `attempt=0a1b/`; it must not exist yet.
        """
        # Without the cache, the second action below would read the stream again.
        parsed = events.persist()
        try:
            with self.report.phase("parse"):
                contents = _contents(parsed)
            self.run.boundaries.passed("records_fetched")
            return self._write_outcomes(parsed, contents, folder)
        finally:
            parsed.unpersist()

    def _write_outcomes(self, parsed: DataFrame, contents: dict[str | None, Content], folder: str) -> Part:
        rejected = [content for reason, content in contents.items() if reason]
        listens: tuple[BatchFile, ...] = ()
        rejects: tuple[BatchFile, ...] = ()
        if None in contents:
            place = f"{layout.PROCESSED}{self.batch.path}{folder}"
            with self.report.phase("listens"):
                accepted_listens(parsed).coalesce(_file_count([contents[None]])).write.parquet(self._uri(place))
                listens = self._files(place, ".parquet")
        self.run.boundaries.passed("listens_written")
        if rejected:
            place = f"{rejects_folder(self.batch)}{folder}"
            with self.report.phase("rejects"):
                frame = rejected_records(parsed, self.batch.path)
                frame.coalesce(_file_count(rejected)).write.json(self._uri(place))
                rejects = self._files(place, ".json")
        return Part(listens=listens, rejects=rejects, contents=contents)

    def _uri(self, key: str) -> str:
        return layout.uri(self.run.settings.raw_bucket, key)

    def _files(self, folder: str, suffix: str) -> tuple[BatchFile, ...]:
        found = list_files(self.run.s3, self.run.settings.raw_bucket, folder)
        return tuple(file for file, _ in found if file.key.endswith(suffix))


def rejects_folder(batch: BatchId) -> str:
    """Return the folder of a micro-batch's rejects."""
    return f"{layout.BAD_RECORDS}{layout.INGEST_JOB}/{batch.path}"


def _contents(parsed: DataFrame) -> dict[str | None, Content]:
    """Return what there is of each reject reason, under None of listens; the first action, so it fills the cache."""
    counted = parsed.groupBy("reject_reason").agg(
        F.count("*").alias("rows"),
        F.sum("payload_bytes").alias("payload_bytes"),
        # Microseconds, as a timestamp would come out in the driver's zone.
        F.unix_micros(F.min("arrived_at")).alias("oldest"),
        F.count_if(F.col("timeliness") == LATE).alias("late"),
        F.count_if(F.col("timeliness") == FUTURE).alias("future"),
    )
    return {
        # Collects one row per reason, a dozen at most.
        row["reject_reason"]: Content(
            rows=row["rows"],
            payload_bytes=row["payload_bytes"],
            oldest=datetime.fromtimestamp(row["oldest"] / 1_000_000, UTC),
            late=row["late"],
            future=row["future"],
        )
        for row in counted.collect()
    }


def _file_count(contents: Iterable[Content]) -> int:
    return max(1, -(-sum(content.payload_bytes for content in contents) // PAYLOAD_BYTES_PER_FILE))
