"""The table of partial aggregates, and how far it is: both change in one commit.

The curated version that the partials stand for is the Delta transaction of the commit that brought them there. So a
crash leaves either both or none, and a run that was overtaken and finishes late is skipped by Delta itself.

Each commit replaces whole dates: those that only grew by their old partials and those of the new listens, any other by
partials of all its listens.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cached_property, reduce
from typing import Final

from delta.tables import DeltaTable
from pyspark.sql import DataFrame

from batch_jobs.consuming import Touched
from batch_jobs.partials import partials_of, united
from batch_jobs.quality import count_by_date
from lakehouse import layout
from lakehouse.delta import (
    BEFORE_ANY,
    commit_metadata,
    listen_dates,
    on_dates,
    open_table,
    read_version,
    transaction,
)
from lakehouse.delta_log import read_snapshot, snapshot_of, version_of
from lakehouse.jobs import Run
from lakehouse.lake_tables import LATEST, PARTIALS
from lakehouse.settings import KpiSettings
from lakehouse.tables import CURATED_LISTENS, KPI_PARTIALS

_REACHED: Final = CURATED_LISTENS.name
"""Delta application whose version is the curated version that the partials stand for."""


@dataclass(frozen=True)
class PartialTable:
    """The partials of every date."""

    run: Run[KpiSettings]

    def reached(self) -> int:
        """Return the curated version that the partials stand for; `BEFORE_ANY` when there are none yet."""
        snapshot = read_snapshot(self.run.s3, PARTIALS.bucket(self.run.settings), PARTIALS.prefix)
        return BEFORE_ANY if snapshot is None else snapshot.transactions.get(_REACHED, BEFORE_ANY)

    def read(self, dates: list[date]) -> DataFrame:
        """Return the partials of some dates, pinned to the newest version. Grain: the table's."""
        version = version_of(self.run.s3, PARTIALS, self.run.settings)
        return read_version(self.run.spark, self.uri, version).where(on_dates(dates))

    def dates(self) -> list[date]:
        """Return the dates that have partials, in order."""
        return listen_dates(self.delta.toDF())

    def begin(self, until: int) -> None:
        """Compute the partials of every date from the curated listens of one version, in one commit."""
        listens = read_version(self.run.spark, LATEST.uri(self.run.settings), until)
        dates = sorted({*listen_dates(listens), *self.dates()})
        self._commit(self._computed(listens, dates), dates, until)

    def advance(self, new: DataFrame, touched: Touched, *, until: int) -> None:
        """Bring the partials from where they stand to a curated version, in one commit.

        Args:
            new: Listens that came since. One row per listen.
            touched: The dates that were touched since.
            until: The curated version.
        """
        parts = []
        if touched.grown:
            added = self._computed(new, touched.grown)
            parts.append(united(self.read(touched.grown).unionByName(added)))
        if touched.changed:
            listens = read_version(self.run.spark, LATEST.uri(self.run.settings), until)
            parts.append(self._computed(listens, touched.changed))
        # A version that touches no date moves the progress all the same: by a commit without rows.
        wanted = reduce(DataFrame.unionByName, parts) if parts else self.read([])
        self._commit(wanted, touched.all, until)

    def restore(self, partials: DataFrame, dates: list[date], *, until: int) -> None:
        """Replace the partials of some dates by those of the curated version that the table stands for already."""
        self.run.lease.check()
        # Each kind of partials comes in parts of its own, and each part of each would be a file on each date.
        by_date = partials.repartition("listen_date")
        with commit_metadata(self.run.spark, job=layout.KPI_JOB, run_id=self.run.id, curated_version=until):
            by_date.write.format("delta").mode("overwrite").option("replaceWhere", on_dates(dates)).save(self.uri)

    def fence(self) -> tuple[str, int]:
        """Return the Delta transaction of whatever is derived from the newest partials."""
        snapshot = snapshot_of(self.run.s3, PARTIALS, self.run.settings)
        return f"{KPI_PARTIALS.name}:{snapshot.table_id}", snapshot.version

    def _computed(self, listens: DataFrame, dates: list[date]) -> DataFrame:
        whole = listens.where(on_dates(dates))
        return partials_of(whole, count_by_date(whole))

    def _commit(self, partials: DataFrame, dates: list[date], until: int) -> None:
        with transaction(self.run.spark, _REACHED, until):
            self.restore(partials, dates, until=until)

    @property
    def uri(self) -> str:
        """Where the table lies."""
        return PARTIALS.uri(self.run.settings)

    @cached_property
    def delta(self) -> DeltaTable:
        """The table, created empty when it is not there yet."""
        return open_table(self.run.spark, KPI_PARTIALS, self.uri)
