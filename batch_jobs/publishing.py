"""From partials to presentation tables: derive, check the balance, and commit where rows differ.

A commit replaces the dates that have a row that differs, and leaves the other rows as they were, with their provenance;
where no row differs there is no commit. Whoever reads the change feed finds a row that was rewritten as it was deleted
and inserted by one commit (`batch_jobs.items.latest_changes` leaves it out).

What is published carries, as its Delta transaction, the version of the partials that it was derived from. A run that
was overtaken between deriving and committing is so skipped by Delta, and what a newer run has published stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql.pandas.types import to_arrow_schema

from batch_jobs.kpis import daily_genre_kpis
from batch_jobs.partials import valid_by_date
from batch_jobs.presentation import check_balance, compared, top_genres
from lakehouse import layout
from lakehouse.delta import commit_options, made, on_dates
from lakehouse.delta_rows import Row, SmallTable
from lakehouse.jobs import Run
from lakehouse.lake_tables import DAILY_LISTENS, DATE, TOP_GENRES, LakeTable
from lakehouse.settings import KpiSettings
from lakehouse.spark import schema_of

PRESENTED: Final = (DAILY_LISTENS, TOP_GENRES)


@dataclass(frozen=True, kw_only=True)
class Publication:
    """What the presentation tables shall hold for some dates.

    Attributes:
        run: The run that derived it.
        dates: The listen dates, whole.
        genre_kpis: The value columns of `DAILY_GENRE_KPIS`. One row per (listen_date, track_genre).
        curated_version: Version of the curated table that it stands for.
    """

    run: Run[KpiSettings]
    dates: list[date]
    genre_kpis: pa.Table
    curated_version: int

    def changed(self, table: LakeTable) -> int:
        """Count the rows of a presentation table that differ."""
        return self._wanted(table).changed

    def commit(self, fence: tuple[str, int]) -> None:
        """Write what differs, table by table.

        Args:
            fence: Delta transaction of the partials that this comes from.
        """
        for table in PRESENTED:
            wanted = self._wanted(table)
            if wanted.dates:
                self._replace(table, wanted, fence)
            self.run.report.facts[f"{table.name}_changed"] = wanted.changed
            self.run.boundaries.passed(f"{table.name}_committed")

    def _wanted(self, table: LakeTable) -> _Wanted:
        held = _held(self.run, table, self.dates if table.by_date else None)
        dates, changed, pieces = [], 0, []
        for day in self.dates:
            kpis = _of_date(self.genre_kpis, day)
            then = kpis if table == DAILY_LISTENS else top_genres(kpis)
            rows, differing = compared(_of_date(held, day), then, table.contract, self._provenance)
            if differing:
                dates.append(day)
                changed += differing
                pieces.append(pa.Table.from_pylist(rows, schema=held.schema))
        others = [] if table.by_date else [held.filter(~pc.field("listen_date").isin(dates))]
        return _Wanted(pa.concat_tables([*pieces, *others, held.slice(0, 0)]), dates, changed)

    def _replace(self, table: LakeTable, wanted: _Wanted, fence: tuple[str, int]) -> None:
        self.run.lease.check()
        about = {"job": layout.KPI_JOB, "run_id": self.run.id, "curated_version": self.curated_version}
        # Spark takes an empty chunk for the end of the table.
        rows = self.run.spark.createDataFrame(wanted.rows.combine_chunks())
        if table.by_date:
            writer = rows.repartition("listen_date").write.option("replaceWhere", on_dates(wanted.dates))
        else:
            writer = rows.coalesce(1).write
        told = commit_options(about, transaction=fence)
        writer.format("delta").mode("overwrite").options(**told).save(table.uri(self.run.settings))

    @cached_property
    def _provenance(self) -> Row:
        return {"curated_version": self.curated_version, "run_id": self.run.id, "computed_at": self.run.now()}


@dataclass(frozen=True)
class _Wanted:
    """What a presentation table shall hold where a row differs.

    Attributes:
        rows: The rows of `dates` or, of a table that is not kept by date, all of them. Columns of the table.
        dates: Listen dates with a row that differs.
        changed: How many rows differ.
    """

    rows: pa.Table
    dates: list[date]
    changed: int


def published_dates(run: Run[KpiSettings]) -> set[date]:
    """Return the dates that a presentation table has rows of."""
    by_genre = made(run.spark, run.s3, DAILY_LISTENS, run.settings)
    return by_genre.dates | set(_held(run, TOP_GENRES).column(DATE).to_pylist())


def derived(run: Run[KpiSettings], partials: DataFrame, dates: list[date], *, curated_version: int) -> Publication:
    """Derive the KPIs of whole dates. Holds a row per date and genre in the driver.

    Args:
        run: The run.
        partials: Partials of these dates.
        dates: The listen dates.
        curated_version: The curated version that the partials stand for.

    Raises:
        BalanceError: Listens and KPIs don't add up; nothing was published.
    """
    genre_kpis = daily_genre_kpis(partials).toArrow()
    listens = {row["listen_date"]: row["listens"] for row in valid_by_date(partials).collect()}
    check_balance(listens, genre_kpis.select(["listen_date", "listen_count"]).to_pylist())
    return Publication(run=run, dates=dates, genre_kpis=genre_kpis, curated_version=curated_version)


def _of_date(rows: pa.Table, day: date) -> list[Row]:
    found: list[Row] = rows.filter(pc.field("listen_date") == day).to_pylist()
    return found


def _held(run: Run[KpiSettings], table: LakeTable, dates: list[date] | None = None) -> pa.Table:
    """Return the rows that a presentation table holds now, of all or of some listen dates. Columns of the table."""
    schema = to_arrow_schema(schema_of(table.contract))
    snapshot = made(run.spark, run.s3, table, run.settings)
    files = SmallTable(run.s3, table, run.settings).read(snapshot, dates)
    return pa.concat_tables([schema.empty_table(), *(rows.select(schema.names).cast(schema) for rows in files)])
