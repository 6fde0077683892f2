"""What came into `latest/` since a version: which dates it touches, and the copy of the consumed listens.

An insert adds to what is known of its date. A deleted or changed listen can't be taken out of smallest texts or united
bits, so its date has to be computed again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakehouse import layout
from lakehouse.delta import BEFORE_ANY, commit_metadata, open_table, read_changes, transaction
from lakehouse.jobs import Run
from lakehouse.lake_tables import ARCHIVE, LATEST
from lakehouse.settings import KpiSettings
from lakehouse.tables import ARCHIVED_LISTENS

_CHANGE: Final = "_change_type"
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


def changes_between(run: Run[KpiSettings], *, after: int, until: int) -> DataFrame:
    """Return the change feed of curated versions (`after`, `until`]. One row per changed listen and change."""
    return read_changes(run.spark, LATEST.uri(run.settings), after=after, until=until)


def arrived(changes: DataFrame, *, beyond: int = BEFORE_ANY) -> DataFrame:
    """Return the listens that came with versions past `beyond`. One row per listen that is new or new in content."""
    return _beyond(changes, beyond).where(F.col(_CHANGE).isin("insert", "update_postimage"))


def touched_dates(changes: DataFrame, *, beyond: int = BEFORE_ANY) -> Touched:
    """Tell the dates apart that versions past `beyond` have touched. Collects one row per listen_date."""
    by_date = _beyond(changes, beyond).where(F.col("listen_date").isNotNull()).groupBy("listen_date")
    told = by_date.agg(F.bool_and(F.col(_CHANGE) == "insert").alias("grown")).collect()
    rows = sorted((row["listen_date"], row["grown"]) for row in told)
    return Touched([day for day, grown in rows if grown], [day for day, grown in rows if not grown])


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
    with commit_metadata(run.spark, **about), transaction(run.spark, _CONSUMED, until):
        labelled.write.format("delta").mode("overwrite").option("replaceWhere", f"consumed_version > {before}").save(
            uri
        )


def _beyond(changes: DataFrame, version: int) -> DataFrame:
    return changes.where(F.col("_commit_version") > version)
