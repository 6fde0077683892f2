"""CSV files under `streams/`, each ingested as one batch by the rules and the sink of the stream's micro-batches.

A task parses the file as it comes from S3, so its size does not matter. Order of commits: listens, rejects, the batch's
manifest if absent, then the file's marker. A run that dies between any two of them is repaired by the next one.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from pyspark.sql import DataFrame, SparkSession

from lakehouse import layout
from lakehouse.drops import Drop, find_manifest, list_drops, list_markers, mark
from lakehouse.errors import LeaseError, SourceError
from lakehouse.jobs import Run
from lakehouse.settings import IngestSettings
from streaming_jobs.csv_source import CsvFileSource
from streaming_jobs.micro_batches import MicroBatchSink

logger = logging.getLogger(__name__)

LONGEST_PAUSE: Final = timedelta(minutes=10)


class DropError(SourceError):
    """A CSV file could not be ingested."""


def parse_drop(spark: SparkSession, settings: IngestSettings, drop: Drop) -> DataFrame:
    """Read and judge a CSV file; `CsvFileSource` must be registered. Late and future rows are counted, never rejected.

    Returns:
        One row per record, columns as `parsing.PARSED`.
    """
    options: dict[str, str | int] = {
        "bucket": settings.raw_bucket,
        "key": drop.file.key,
        "etag": drop.file.etag,
        "arrivedat": drop.dropped_at.isoformat(),
        "lateafterseconds": settings.late_after_seconds,
        "futuretoleranceseconds": settings.future_tolerance_seconds,
    }
    return spark.read.format(CsvFileSource.name()).options(**options).load()


@dataclass
class DropIngestion:
    """Takes what waits under `streams/`, one file after the other, beside the query of one run.

    A file that can't be ingested now (S3 does not answer, somebody replaced it this moment) is logged and tried again
    later, ever more rarely; neither the stream nor the other files wait for it.
    """

    run: Run[IngestSettings]
    sink: MicroBatchSink
    _markers: set[str] | None = None
    _failures: dict[str, tuple[int, datetime]] = field(default_factory=dict)

    def ingest_waiting(self, stop: threading.Event) -> None:
        """Ingest every file that is not ingested yet; after `stop`, no further one.

        Raises:
            LeaseError: Another run took over.
        """
        bucket = self.run.settings.raw_bucket
        if self._markers is None:
            self.run.spark.dataSource.register(CsvFileSource)
            self._markers = list_markers(self.run.s3, bucket)
        waiting = list(list_drops(self.run.s3, bucket))
        there = {drop.marker_key for drop in waiting}
        self._failures = {key: failure for key, failure in self._failures.items() if key in there}
        for drop in waiting:
            if stop.is_set():
                return
            if drop.marker_key in self._markers or self._rests(drop):
                continue
            try:
                self._ingest(drop)
            except LeaseError:
                raise
            except Exception:
                self._postpone(drop)
            else:
                self._markers.add(drop.marker_key)
                self._failures.pop(drop.marker_key, None)

    def require_all(self) -> None:
        """Raise a `DropError` if the last try of any file failed."""
        if self._failures:
            raise DropError(
                expected=f"every CSV file under {layout.DROPS} to be ingested",
                found=f"{len(self._failures)} that could not be",
                do="The log says why, once for each try. Correct the cause and start the job again.",
            )

    def _ingest(self, drop: Drop) -> None:
        bucket = self.run.settings.raw_bucket
        if committed := find_manifest(self.run.s3, bucket, drop):
            self.sink.pass_over(committed)
        else:
            self.sink.write_batch(drop.batch, parse_drop(self.run.spark, self.run.settings, drop))
        self.run.lease.check()
        mark(self.run.s3, bucket, drop)
        self.run.boundaries.passed("drop_marked")
        self.run.report.facts["csv_files"] = self.run.report.facts.get("csv_files", 0) + 1

    def _rests(self, drop: Drop) -> bool:
        _, until = self._failures.get(drop.marker_key, (0, self.run.now()))
        return self.run.now() < until

    def _postpone(self, drop: Drop) -> None:
        tries = self._failures.get(drop.marker_key, (0, None))[0] + 1
        pause = min(timedelta(seconds=self.run.settings.trigger_seconds) * 2 ** min(tries, 10), LONGEST_PAUSE)
        self._failures[drop.marker_key] = tries, self.run.now() + pause
        logger.exception(
            "CSV file could not be ingested and is tried again",
            extra={"batch": drop.batch.path, "tries": tries, "pause_seconds": pause.total_seconds()},
        )
