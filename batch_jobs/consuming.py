"""What came into `latest/` since a version: which dates it touches, and the copy of the consumed listens.

An insert adds to what is known of its date. A deleted or changed listen can't be taken out of smallest texts or united
bits, so its date has to be computed again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Final

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from batch_jobs.quality import VALID, count_by_date, totals
from lakehouse import layout
from lakehouse.delta import BEFORE_ANY, commit_options, open_table, read_changes
from lakehouse.jobs import Run
from lakehouse.lake_tables import ARCHIVE, LATEST
from lakehouse.settings import KpiSettings
from lakehouse.tables import ARCHIVED_LISTENS

_CHANGE: Final = "_change_type"
_VERSION: Final = "_commit_version"
_ARRIVALS: Final = ("insert", "update_postimage")
_CONSUMED: Final = "consumed"


@dataclass(frozen=True)
class Touched:
    """Listen dates of changes, each in one of the two lists.

    Attributes:
        grown: Listens were added and nothing else.
        changed: Listens were changed or deleted.
    """

    grown: list[date]
    changed: list[date]

    @property
    def all(self) -> list[date]:
        """All of them, in order."""
        return sorted([*self.grown, *self.changed])


@dataclass(frozen=True)
class Changes:
    """What changed in `latest/` between two curated versions.

    Attributes:
        feed: One row per changed listen and change.
        counted: `count_by_date` of the feed, by version and kind of change as well.
        counts: The rows of `counted`.
    """

    feed: DataFrame
    counted: DataFrame
    counts: list[Row]

    def arrived(self, *, beyond: int = BEFORE_ANY) -> DataFrame:
        """Return the listens that came with versions past `beyond`. One row per listen, new or new in content."""
        return _arrived(self.feed, beyond)

    def valid_by_date(self, *, beyond: int = BEFORE_ANY) -> DataFrame:
        """Return how many of `arrived` break no rule. One row per listen_date: it and `quality.VALID`."""
        return _arrived(self.counted, beyond).groupBy("listen_date").agg(F.sum(VALID).alias(VALID))

    def touched(self, *, beyond: int = BEFORE_ANY) -> Touched:
        """Tell the dates apart that versions past `beyond` have touched."""
        later = [row for row in self.counts if row[_VERSION] > beyond and row["listen_date"] is not None]
        changed = {row["listen_date"] for row in later if row[_CHANGE] != "insert"}
        return Touched(sorted({row["listen_date"] for row in later} - changed), sorted(changed))

    def metrics(self) -> dict[str, int]:
        """Return the line of metrics about what arrived."""
        return totals(row for row in self.counts if row[_CHANGE] in _ARRIVALS)


@contextmanager
def changes_between(run: Run[KpiSettings], *, after: int, until: int) -> Iterator[Changes]:
    """Give the change feed of curated versions (`after`, `until`]; it is kept in memory inside the block."""
    feed = read_changes(run.spark, LATEST.uri(run.settings), after=after, until=until).persist()
    counted = count_by_date(feed, _VERSION, _CHANGE).persist()
    try:
        yield Changes(feed, counted, counted.collect())
    finally:
        counted.unpersist()
        feed.unpersist()


def archive_consumed(run: Run[KpiSettings], listens: DataFrame, *, before: int, until: int) -> None:
    """Copy listens to `archive/`, in place of what a run that did not finish has left there.

    Args:
        run: The run.
        listens: What arrived since `before`. One row per listen.
        before: Curated version of the last complete run.
        until: Curated version of this one.
    """
    uri = ARCHIVE.uri(run.settings)
    open_table(run.spark, ARCHIVED_LISTENS, uri)
    labelled = listens.withColumn("consumed_version", F.lit(until).cast("bigint")).select(*ARCHIVED_LISTENS.columns)
    run.lease.check()
    about = {"job": layout.KPI_JOB, "run_id": run.id, "curated_version": until}
    told = commit_options(about, transaction=(_CONSUMED, until))
    consumed_since = f"consumed_version > {before}"
    labelled.write.format("delta").mode("overwrite").option("replaceWhere", consumed_since).options(**told).save(uri)


def _arrived(changes: DataFrame, beyond: int) -> DataFrame:
    return changes.where((F.col(_VERSION) > beyond) & F.col(_CHANGE).isin(*_ARRIVALS))
