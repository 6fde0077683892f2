"""From partials to presentation tables: derive, check the balance, and commit where rows differ.

A commit replaces the dates that have a row that differs, and leaves the other rows as they were, with their provenance;
where no row differs there is no commit. Whoever reads the change feed finds a row that was rewritten as it was deleted
and inserted by one commit (`batch_jobs.items.latest_changes` leaves it out).

What is published carries, as its Delta transaction, the version of the partials that it was derived from. A run that
was overtaken between deriving and committing is so skipped by Delta, and what a newer run has published stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Final

from delta.tables import DeltaTable
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from batch_jobs.kpis import daily_genre_kpis, daily_top_genres
from batch_jobs.partials import valid_by_date
from batch_jobs.presentation import DIFFERS, GONE, compared, with_provenance
from lakehouse import layout
from lakehouse.delta import commit_metadata, listen_dates, on_dates, open_table, transaction
from lakehouse.delta_log import dates_of
from lakehouse.errors import BalanceError
from lakehouse.jobs import Run
from lakehouse.lake_tables import DAILY_LISTENS, TOP_GENRES, LakeTable
from lakehouse.settings import KpiSettings

PRESENTED: Final = (DAILY_LISTENS, TOP_GENRES)


@dataclass(frozen=True, kw_only=True)
class Publication:
    """What the presentation tables shall hold for some dates.

    Attributes:
        run: The run that derived it.
        dates: The listen dates, whole.
        genre_kpis: One row per (listen_date, track_genre).
        curated_version: Version of the curated table that it stands for.
    """

    run: Run[KpiSettings]
    dates: list[date]
    genre_kpis: DataFrame
    curated_version: int

    def changed(self, table: LakeTable) -> int:
        """Count the rows of a presentation table that differ."""
        return sum(_differing(self._compared(table)).values())

    def _compared(self, table: LakeTable) -> DataFrame:
        """Compare with what a presentation table holds. Grain and columns: `compared`."""
        kpis = self.genre_kpis if table == DAILY_LISTENS else daily_top_genres(self.genre_kpis)
        wanted = with_provenance(
            kpis, curated_version=self.curated_version, run_id=self.run.id, computed_at=self.run.now()
        )
        current = _open(self.run, table).toDF()
        if table.by_date:
            current = current.where(on_dates(self.dates))
        return compared(current, wanted, table.contract, self.dates)

    def commit(self, fence: tuple[str, int]) -> None:
        """Write what differs, table by table.

        Args:
            fence: Delta transaction of the partials that this comes from.
        """
        for table in PRESENTED:
            rows = self._compared(table).persist()
            try:
                if differing := _differing(rows):
                    self._replace(table, rows.where(f"NOT {GONE}"), list(differing), fence)
                self.run.report.facts[f"{table.name}_changed"] = sum(differing.values())
            finally:
                rows.unpersist()
            self.run.boundaries.passed(f"{table.name}_committed")

    def _replace(self, table: LakeTable, rows: DataFrame, dates: list[date], fence: tuple[str, int]) -> None:
        self.run.lease.check()
        about = {"job": layout.KPI_JOB, "run_id": self.run.id, "curated_version": self.curated_version}
        whole = rows.select(*table.contract.columns)
        if table.by_date:
            writer = (
                whole.where(on_dates(dates)).repartition("listen_date").write.option("replaceWhere", on_dates(dates))
            )
        else:
            writer = whole.coalesce(1).write
        with commit_metadata(self.run.spark, **about), transaction(self.run.spark, *fence):
            writer.format("delta").mode("overwrite").save(table.uri(self.run.settings))


def published_dates(run: Run[KpiSettings]) -> set[date]:
    """Return the dates that a presentation table has rows of."""
    _open(run, DAILY_LISTENS)
    charts = _open(run, TOP_GENRES)
    return dates_of(run.s3, DAILY_LISTENS, run.settings) | listen_dates(charts.toDF())


def _differing(compared_rows: DataFrame) -> dict[date, int]:
    """Count the rows that differ, by listen_date. Collects one row per date that has any."""
    counted = compared_rows.where(DIFFERS).groupBy("listen_date").count().collect()
    return {row["listen_date"]: row["count"] for row in counted}


def _open(run: Run[KpiSettings], table: LakeTable) -> DeltaTable:
    return open_table(run.spark, table.contract, table.uri(run.settings))


@contextmanager
def derived(
    run: Run[KpiSettings], partials: DataFrame, dates: list[date], *, curated_version: int
) -> Iterator[Publication]:
    """Derive the KPIs of whole dates; they are kept in memory inside the block.

    Args:
        run: The run.
        partials: Partials of these dates.
        dates: The listen dates.
        curated_version: The curated version that the partials stand for.

    Raises:
        BalanceError: Listens and KPIs don't add up; nothing was published.
    """
    genre_kpis = daily_genre_kpis(partials).persist()
    try:
        _check_balance(valid_by_date(partials), genre_kpis)
        yield Publication(run=run, dates=dates, genre_kpis=genre_kpis, curated_version=curated_version)
    finally:
        genre_kpis.unpersist()


def _check_balance(counted: DataFrame, genre_kpis: DataFrame) -> None:
    """Compare, per day, valid listens with the sum over genres. Collects one row per day that differs."""
    summed = genre_kpis.groupBy("listen_date").agg(F.sum("listen_count").alias("in_genres"))
    both = counted.join(summed, on="listen_date", how="full_outer")
    wrong = both.where(~F.col("listens").eqNullSafe(F.col("in_genres"))).collect()
    if wrong:
        raise BalanceError(
            expected=f"{wrong[0]['listens']} listens of {wrong[0]['listen_date']} over all genres",
            found=str(wrong[0]["in_genres"]),
            do="Nothing was published. `listenlake kpis run --mode recompute --repair` computes from the listens.",
        )
