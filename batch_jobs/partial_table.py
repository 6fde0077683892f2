"""The table of partial aggregates, and how far it is: both change in one commit.

The curated version that the partials stand for is the Delta transaction of the commit that brought them there. So a
crash leaves either both or none, and a run that was overtaken and finishes late is skipped by Delta itself.

Each commit replaces whole dates: those that only grew by their old partials and those of the new listens, any other by
partials of all its listens.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from functools import reduce
from typing import Final

from pyspark.sql import DataFrame

from batch_jobs.consuming import Changes
from batch_jobs.partials import parts_of, united
from batch_jobs.quality import count_by_date
from lakehouse import layout
from lakehouse.delta import BEFORE_ANY, commit_options, on_dates, open_table, read_version
from lakehouse.delta_log import dates_of, newest_commit, read_snapshot, snapshot_of, version_of
from lakehouse.jobs import Run
from lakehouse.lake_tables import LATEST, PARTIALS
from lakehouse.settings import KpiSettings
from lakehouse.tables import CURATED_LISTENS, KPI_PARTIALS

_REACHED: Final = CURATED_LISTENS.name
"""Delta application whose version is the curated version that the partials stand for."""


@dataclass(frozen=True)
class _Kept:
    """What this run commits, in memory.

    Attributes:
        rows: Partials.
        dates: The dates that they replace.
        version: The version of the table that the commit has made; `BEFORE_ANY` until then.
    """

    rows: DataFrame
    dates: list[date]
    version: int = BEFORE_ANY


@dataclass
class PartialTable:
    """The partials of every date."""

    run: Run[KpiSettings]
    _kept: _Kept | None = None

    def close(self) -> None:
        """Let go of what is kept in memory."""
        if self._kept is not None:
            self._kept.rows.unpersist()
            self._kept = None

    def reached(self) -> int:
        """Return the curated version that the partials stand for; `BEFORE_ANY` when there are none yet."""
        snapshot = read_snapshot(self.run.s3, PARTIALS.bucket(self.run.settings), PARTIALS.prefix)
        return BEFORE_ANY if snapshot is None else snapshot.transactions.get(_REACHED, BEFORE_ANY)

    def read(self, dates: list[date]) -> DataFrame:
        """Return the partials of some dates, pinned to the newest version. Grain: the table's."""
        version = version_of(self.run.s3, PARTIALS, self.run.settings)
        if self._kept is not None and (self._kept.version, self._kept.dates) == (version, dates):
            return self._kept.rows
        return read_version(self.run.spark, self.uri, version).where(on_dates(dates))

    def dates(self) -> set[date]:
        """Return the dates that have partials."""
        open_table(self.run.spark, KPI_PARTIALS, self.uri)
        return dates_of(self.run.s3, PARTIALS, self.run.settings)

    def begin(self, until: int) -> None:
        """Compute the partials of every date from the curated listens of one version, in one commit."""
        listens = read_version(self.run.spark, LATEST.uri(self.run.settings), until)
        dates = sorted(dates_of(self.run.s3, LATEST, self.run.settings, version=until) | self.dates())
        self._write(_in_files(self._computed(listens, dates), dates), dates, until, transaction=(_REACHED, until))

    def advance(self, changes: Changes, *, reached: int, until: int) -> None:
        """Bring the partials from where they stand to a curated version, in one commit.

        Args:
            changes: What changed since, or more.
            reached: The curated version that the partials stand for.
            until: The curated version.
        """
        parts, touched = [], changes.touched(beyond=reached)
        if touched.grown:
            of_grown = on_dates(touched.grown)
            new, counted = changes.arrived(beyond=reached), changes.valid_by_date(beyond=reached)
            added = parts_of(new.where(of_grown), counted.where(of_grown))
            parts.append(united(self.read(touched.grown).unionByName(added)))
        if touched.changed:
            listens = read_version(self.run.spark, LATEST.uri(self.run.settings), until)
            parts.append(self._computed(listens, touched.changed))
        # A version that touches no date moves the progress all the same: by a commit without rows.
        wanted = reduce(DataFrame.unionByName, parts) if parts else self.read([])
        self._kept = _Kept(_in_files(wanted, touched.all).persist(), touched.all)
        self._write(self._kept.rows, touched.all, until, transaction=(_REACHED, until))
        newest = newest_commit(self.run.s3, PARTIALS.bucket(self.run.settings), PARTIALS.prefix)
        # Delta skips, without a word, the commit of a run that was overtaken: then the newest one is another run's.
        if newest is not None and newest.metadata.get("run_id") == self.run.id:
            self._kept = replace(self._kept, version=newest.version)

    def restore(self, partials: DataFrame, dates: list[date], *, until: int) -> None:
        """Replace the partials of some dates by those of the curated version that the table stands for already."""
        self._write(_in_files(partials, dates), dates, until)

    def fence(self) -> tuple[str, int]:
        """Return the Delta transaction of whatever is derived from the newest partials."""
        snapshot = snapshot_of(self.run.s3, PARTIALS, self.run.settings)
        return f"{KPI_PARTIALS.name}:{snapshot.table_id}", snapshot.version

    def _computed(self, listens: DataFrame, dates: list[date]) -> DataFrame:
        whole = listens.where(on_dates(dates))
        return united(parts_of(whole, count_by_date(whole)))

    def _write(
        self, partials: DataFrame, dates: list[date], until: int, *, transaction: tuple[str, int] | None = None
    ) -> None:
        self.run.lease.check()
        about = {"job": layout.KPI_JOB, "run_id": self.run.id, "curated_version": until}
        told = commit_options(about, transaction=transaction)
        writer = partials.write.format("delta").mode("overwrite").option("replaceWhere", on_dates(dates))
        writer.options(**told).save(self.uri)

    @property
    def uri(self) -> str:
        """Where the table lies."""
        return PARTIALS.uri(self.run.settings)


def _in_files(partials: DataFrame, dates: list[date]) -> DataFrame:
    """Put what becomes one file into one partition: a date; where there is only one, it lies together as it is."""
    return partials if len(dates) == 1 else partials.repartition("listen_date")
