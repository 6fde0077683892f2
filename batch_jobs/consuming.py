"""What came into `latest/` since a version, and which dates it touches.

An insert adds to what is known of its date. A deleted or changed listen can't be taken out of smallest texts or united
bits, so its date has to be computed again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import date
from typing import Final

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from batch_jobs.quality import count_by_date, totals
from lakehouse.delta import BEFORE_ANY, read_changes
from lakehouse.jobs import Run
from lakehouse.lake_tables import LATEST
from lakehouse.settings import KpiSettings

_CHANGE: Final = "_change_type"
_VERSION: Final = "_commit_version"
_ARRIVALS: Final = ("insert", "update_postimage")


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
        after: The version that it begins after.
        counts: `count_by_date` of the feed, by version and kind of change as well.
    """

    feed: DataFrame
    after: int
    counts: list[Row]

    def arrived(self, *, beyond: int = BEFORE_ANY) -> DataFrame:
        """Return the listens that came with versions past `beyond`. One row per listen, new or new in content."""
        arrived = self.feed.where(F.col(_CHANGE).isin(*_ARRIVALS))
        # A filter that names a version is compiled anew by every run, so it is left out where it keeps all.
        return arrived if beyond <= self.after else arrived.where(F.col(_VERSION) > beyond)

    def counted(self, name: str, *, beyond: int = BEFORE_ANY) -> Counter[date]:
        """Return a count of `count_by_date`, of the listens that `arrived` gives, by listen_date."""
        found: Counter[date] = Counter()
        for row in self.counts:
            if row[_VERSION] > beyond and row[_CHANGE] in _ARRIVALS:
                found[row["listen_date"]] += row[name]
        return found

    def touched(self, *, beyond: int = BEFORE_ANY) -> Touched:
        """Tell the dates apart that versions past `beyond` have touched."""
        later = [row for row in self.counts if row[_VERSION] > beyond and row["listen_date"] is not None]
        changed = {row["listen_date"] for row in later if row[_CHANGE] != "insert"}
        return Touched(sorted({row["listen_date"] for row in later} - changed), sorted(changed))

    def metrics(self) -> dict[str, int]:
        """Return the line of metrics about what arrived."""
        return totals(row for row in self.counts if row[_CHANGE] in _ARRIVALS)


def changes_between(run: Run[KpiSettings], *, after: int, until: int) -> Changes:
    """Return the change feed of curated versions (`after`, `until`].

    It is read anew by each who asks: what one reads of it is a part of its columns.
    """
    feed = read_changes(run.spark, LATEST.uri(run.settings), after=after, until=until)
    return Changes(feed, after, count_by_date(feed, _VERSION, _CHANGE).collect())
