"""The copy in `archive/` of what a run consumes: one partition per run, made beside the run and committed by it."""

from __future__ import annotations

import json
from typing import Final

from pyspark.sql import DataFrame

from batch_jobs.archive_files import ADDED_DDL, ArchiveFiles
from batch_jobs.replacing import Replacing
from lakehouse.delta import BEFORE_ANY, made
from lakehouse.delta_log import DeltaFile
from lakehouse.jobs import Run
from lakehouse.lake_tables import ARCHIVE
from lakehouse.settings import KpiSettings
from lakehouse.tables import CURATED_LISTENS

_CONSUMED: Final = "consumed"


class ConsumedArchive:
    """What came between two curated versions, in place of what a run that did not finish has left there."""

    def __init__(self, run: Run[KpiSettings], *, before: int, until: int) -> None:
        """Look at what there is.

        Args:
            run: The run.
            before: Curated version of the last complete run.
            until: Curated version of this one.
        """
        self._run = run
        self._before = before
        self._until = until
        self._base = made(run.spark, run.s3, ARCHIVE, run.settings)
        self._replacing = Replacing(run, ARCHIVE, self._base)

    def copy(self, listens: DataFrame) -> None:
        """Copy listens to files that count from `commit` on, unless that was done. One row per listen."""
        if self._base.transactions.get(_CONSUMED, BEFORE_ANY) >= self._until:
            return
        self._run.lease.check()
        files = ArchiveFiles(ARCHIVE.bucket(self._run.settings), ARCHIVE.prefix, self._until)
        written = listens.select(*CURATED_LISTENS.columns).mapInArrow(files.write_in_task, ADDED_DDL).collect()
        for row in written:
            self._replacing.take(json.loads(row["added"]))

    def commit(self) -> None:
        """Commit the copy; in the thread of the Spark session, as Delta can't write a checkpoint in every other."""
        self._replacing.commit(self._is_left_over, curated_version=self._until, transaction=(_CONSUMED, self._until))

    def _is_left_over(self, file: DeltaFile) -> bool:
        return int(file.partition["consumed_version"] or BEFORE_ANY) > self._before
