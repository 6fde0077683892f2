"""The table of partial aggregates, and how far it is: both change in one commit.

The curated version that the partials stand for is the Delta transaction of the commit that brought them there. So a
crash leaves either both or none, and what a run that was overtaken would commit late is left out.

Spark reduces listens to partials, some dates at a time; those of a date are added up in the driver. Each commit
replaces whole dates: those that only grew by their old partials and those of the new listens, any other by partials of
all its listens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, Row
from pyspark.sql.pandas.types import to_arrow_schema

from batch_jobs.consuming import Changes
from batch_jobs.partial_sums import united, with_listens
from batch_jobs.partials import partials_of
from batch_jobs.quality import TOTAL, VALID, count_by_date
from batch_jobs.replacing import Replacing
from lakehouse.delta import BEFORE_ANY, made, on_dates, read_version
from lakehouse.delta_commits import of_dates
from lakehouse.delta_log import Snapshot, read_snapshot
from lakehouse.delta_rows import SmallTable
from lakehouse.jobs import Run
from lakehouse.lake_tables import DATE, LATEST, PARTIALS
from lakehouse.settings import KpiSettings
from lakehouse.spark import schema_of
from lakehouse.tables import CURATED_LISTENS, KPI_PARTIALS

_REACHED: Final = CURATED_LISTENS.name
"""Delta application whose version is the curated version that the partials stand for."""
_LISTENS_AT_ONCE: Final = 10_000_000
"""The driver holds the partials of the dates of as many listens, or of one date: two a listen where none are alike."""
_BYTES_OF_A_LISTEN: Final = 32
"""The least that a listen takes in a curated file."""


@dataclass(frozen=True)
class Computed:
    """A date as its listens give it.

    Attributes:
        day: The listen date.
        partials: Columns of `KPI_PARTIALS`, one row per key.
        counts: The row of `quality.count_by_date`; none for a date without listens.
    """

    day: date
    partials: pa.Table
    counts: Row | None


@dataclass(frozen=True)
class PartialTable:
    """The partials of every date."""

    run: Run[KpiSettings]

    def reached(self) -> int:
        """Return the curated version that the partials stand for; `BEFORE_ANY` when there are none yet."""
        snapshot = read_snapshot(self.run.s3, PARTIALS.bucket(self.run.settings), PARTIALS.prefix)
        return BEFORE_ANY if snapshot is None else snapshot.transactions.get(_REACHED, BEFORE_ANY)

    def newest(self) -> Snapshot:
        """Return the table as it is now; it is made where it is not there yet."""
        return made(self.run.spark, self.run.s3, PARTIALS, self.run.settings)

    def read(self, day: date, snapshot: Snapshot) -> pa.Table:
        """Return the partials of a date. Columns of `KPI_PARTIALS`, one row per key."""
        files = SmallTable(self.run.s3, PARTIALS, self.run.settings).read(snapshot, [day])
        return pa.concat_tables([self._empty, *(self._as_contracted(rows) for rows in files)])

    def begin(self, until: int) -> None:
        """Compute the partials of every date from the curated listens of one version, in one commit."""
        curated = read_snapshot(self.run.s3, LATEST.bucket(self.run.settings), LATEST.prefix, version=until)
        kept = self.newest()
        dates = sorted((curated.dates if curated else set()) | kept.dates)
        replacing = Replacing(self.run, PARTIALS, kept)
        for one in self.computed(dates, version=until):
            replacing.put(one.partials, one.day)
        replacing.commit(of_dates(dates), curated_version=until, transaction=(_REACHED, until))

    def advance(self, changes: Changes, *, reached: int, until: int) -> None:
        """Bring the partials from where they stand to a curated version, in one commit.

        Args:
            changes: What changed since, or more.
            reached: The curated version that the partials stand for.
            until: The curated version.
        """
        kept = self.newest()
        replacing = Replacing(self.run, PARTIALS, kept)
        touched = changes.touched(beyond=reached)
        arrived, valid = changes.arrived(beyond=reached), changes.counted(VALID, beyond=reached)
        for dates in _in_turns(touched.grown, changes.counted(TOTAL, beyond=reached)):
            added = self._collected(partials_of(arrived.where(on_dates(dates))))
            for day in dates:
                parts = with_listens(_of_date(added, day), day, valid[day])
                replacing.put(united(pa.concat_tables([self.read(day, kept), parts])), day)
        for one in self.computed(touched.changed, version=until):
            replacing.put(one.partials, one.day)
        # A version that touches no date moves the progress all the same: by a commit without rows.
        replacing.commit(of_dates(touched.all), curated_version=until, transaction=(_REACHED, until))

    def computed(self, dates: list[date], *, version: int) -> Iterator[Computed]:
        """Compute the partials of dates from all their listens as of a curated version, and give them one by one."""
        listens = read_version(self.run.spark, LATEST.uri(self.run.settings), version)
        curated = read_snapshot(self.run.s3, LATEST.bucket(self.run.settings), LATEST.prefix, version=version)
        sizes: Counter[date] = Counter()
        for file in curated.files.values() if curated else ():
            if day := file.partition[DATE]:
                sizes[date.fromisoformat(day)] += file.size // _BYTES_OF_A_LISTEN
        for turn in _in_turns(dates, sizes):
            whole = listens.where(on_dates(turn))
            counts = {row[DATE]: row for row in count_by_date(whole).collect()}
            found = self._collected(partials_of(whole))
            for one in turn:
                valid = counts[one][VALID] if one in counts else 0
                yield Computed(one, united(with_listens(_of_date(found, one), one, valid)), counts.get(one))

    def _collected(self, partials: DataFrame) -> pa.Table:
        return self._as_contracted(partials.toArrow())

    def _as_contracted(self, rows: pa.Table) -> pa.Table:
        return rows.select(self._empty.column_names).cast(self._empty.schema)

    @cached_property
    def _empty(self) -> pa.Table:
        return to_arrow_schema(schema_of(KPI_PARTIALS)).empty_table()


def fence_of(partials: Snapshot) -> tuple[str, int]:
    """Return the Delta transaction of whatever is derived from these partials."""
    return f"{KPI_PARTIALS.name}:{partials.table_id}", partials.version


def _in_turns(dates: list[date], listens: Counter[date]) -> Iterator[list[date]]:
    """Yield the dates in turns of few enough listens, or of one date."""
    turn: list[date] = []
    waiting = 0
    for day in dates:
        if turn and waiting + listens[day] > _LISTENS_AT_ONCE:
            yield turn
            turn, waiting = [], 0
        turn.append(day)
        waiting += listens[day]
    if turn:
        yield turn


def _of_date(partials: pa.Table, day: date) -> pa.Table:
    return partials.filter(pc.field(DATE) == day)
