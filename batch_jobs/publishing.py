"""From partials to presentation tables: derive, check the balance, and commit where rows differ.

A commit replaces the dates that have a row that differs, and leaves the other rows as they were, with their provenance;
where no row differs there is no commit. Whoever reads the change feed finds a row that was rewritten as it was deleted
and inserted by one commit (`batch_jobs.items.latest_changes` leaves it out).

What is published carries, as its Delta transaction, the version of the partials that it was derived from. A run that
was overtaken between deriving and committing so commits nothing, and what a newer run has published stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql.pandas.types import to_arrow_schema

from batch_jobs.kpis import daily_genre_kpis
from batch_jobs.partial_sums import valid_listens
from batch_jobs.presentation import check_balance, compared, top_genres
from batch_jobs.replacing import Replacing
from lakehouse.delta import made
from lakehouse.delta_commits import everything, of_dates
from lakehouse.delta_log import Snapshot
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
        genre_kpis: By date, a row per genre: the value columns of `DAILY_GENRE_KPIS`.
        curated_version: Version of the curated table that it stands for.
    """

    run: Run[KpiSettings]
    dates: list[date]
    genre_kpis: dict[date, list[Row]]
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
        base = made(self.run.spark, self.run.s3, table, self.run.settings)
        held = _held(self.run, table, base, self.dates if table.by_date else None)
        dates, changed = [], 0
        pieces: dict[date | None, pa.Table] = {}
        for day in self.dates:
            kpis = self.genre_kpis[day]
            then = kpis if table == DAILY_LISTENS else top_genres(kpis)
            rows, differing = compared(_of_date(held, day), then, table.contract, self._provenance)
            if differing:
                dates.append(day)
                changed += differing
                pieces[day] = pa.Table.from_pylist(rows, schema=held.schema)
        if pieces and not table.by_date:
            others = held.filter(~pc.field("listen_date").isin(dates))
            return _Wanted(base, {None: pa.concat_tables([*pieces.values(), others])}, dates, changed)
        return _Wanted(base, pieces, dates, changed)

    def _replace(self, table: LakeTable, wanted: _Wanted, fence: tuple[str, int]) -> None:
        replacing = Replacing(self.run, table, wanted.base)
        for day, rows in wanted.rows.items():
            replacing.put(rows, day)
        is_replaced = of_dates(wanted.dates) if table.by_date else everything
        replacing.commit(is_replaced, curated_version=self.curated_version, transaction=fence)

    @cached_property
    def _provenance(self) -> Row:
        return {"curated_version": self.curated_version, "run_id": self.run.id, "computed_at": self.run.now()}


@dataclass(frozen=True)
class _Wanted:
    """What a presentation table shall hold where a row differs.

    Attributes:
        base: The table as it is.
        rows: The rows of `dates`, by date or, of a table that is not kept by date, all of them. Columns of the table.
        dates: Listen dates with a row that differs.
        changed: How many rows differ.
    """

    base: Snapshot
    rows: Mapping[date | None, pa.Table]
    dates: list[date]
    changed: int


def published_dates(run: Run[KpiSettings]) -> set[date]:
    """Return the dates that a presentation table has rows of."""
    by_genre, charts = (made(run.spark, run.s3, table, run.settings) for table in PRESENTED)
    return by_genre.dates | set(_held(run, TOP_GENRES, charts).column(DATE).to_pylist())


def derived(run: Run[KpiSettings], partials: Iterable[tuple[date, pa.Table]], *, curated_version: int) -> Publication:
    """Derive the KPIs of whole dates. Holds the partials of a date, and a row per date and genre.

    Args:
        run: The run.
        partials: Each date's.
        curated_version: The curated version that the partials stand for.

    Raises:
        BalanceError: Listens and KPIs don't add up; nothing was published.
    """
    genre_kpis = {}
    for day, of_date in partials:
        genre_kpis[day] = daily_genre_kpis(of_date)
        check_balance(day, valid_listens(of_date), genre_kpis[day])
    return Publication(run=run, dates=list(genre_kpis), genre_kpis=genre_kpis, curated_version=curated_version)


def _of_date(rows: pa.Table, day: date) -> list[Row]:
    found: list[Row] = rows.filter(pc.field("listen_date") == day).to_pylist()
    return found


def _held(run: Run[KpiSettings], table: LakeTable, snapshot: Snapshot, dates: list[date] | None = None) -> pa.Table:
    """Return the rows that a presentation table holds, of all or of some listen dates. Columns of the table."""
    schema = to_arrow_schema(schema_of(table.contract))
    files = SmallTable(run.s3, table, run.settings).read(snapshot, dates)
    return pa.concat_tables([schema.empty_table(), *(rows.select(schema.names).cast(schema) for rows in files)])
