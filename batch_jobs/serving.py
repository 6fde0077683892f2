"""Serve the presentation tables from DynamoDB.

What a table has committed since it was last served is applied as its change feed gives it; the progress moves last. A
table of which nothing is served yet is applied whole, and what is served beyond it is retired: that is the first run,
a rebuild, and a rebuild that was interrupted.

`source_version` is the commit's version plus the table's offset. A rebuild raises the offset so far that everything it
writes is newer than anything served before, also by a Delta table that has since been lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from batch_jobs.item_writer import ItemWriter
from batch_jobs.items import Item, as_changes, latest_changes, to_items
from batch_jobs.served_progress import Served, ServedProgress
from lakehouse.delta import BEFORE_ANY, made
from lakehouse.delta_log import Snapshot
from lakehouse.delta_rows import Change, SmallTable
from lakehouse.errors import ListenlakeError
from lakehouse.jobs import Run
from lakehouse.lake_tables import DAILY_LISTENS, TOP_GENRES, LakeTable
from lakehouse.settings import KpiSettings

_EMPTY: Final[dict[str, Item]] = {
    DAILY_LISTENS.name: {"listen_count": 0},
    TOP_GENRES.name: {"top_genres": []},
}


class ServingError(ListenlakeError):
    """A presentation table is not the one that was served."""


def serve(run: Run[KpiSettings]) -> None:
    """Apply what the presentation tables have committed since they were last served."""
    for table in _tables(run):
        with run.report.phase("serve"):
            table.serve()
    run.report.facts["served_at"] = run.now()
    run.boundaries.passed("served")


def rebuild(run: Run[KpiSettings]) -> None:
    """Serve both tables anew from Delta: every row is written, and everything else that is served is retired."""
    for table in _tables(run):
        with run.report.phase("serve"):
            table.forget()
    run.boundaries.passed("rebuild_begun")
    serve(run)


def _tables(run: Run[KpiSettings]) -> list[_ServedTable]:
    names = ((DAILY_LISTENS, run.settings.daily_listens_table), (TOP_GENRES, run.settings.top_genres_table))
    return [_ServedTable(run, table, name) for table, name in names]


@dataclass(frozen=True)
class _ServedTable:
    run: Run[KpiSettings]
    table: LakeTable
    dynamodb_table: str

    def serve(self) -> None:
        """Bring DynamoDB to the newest commit."""
        newest = self._newest()
        until = newest.version
        served = self.progress.read() or self.forget()
        if served.table_id not in ("", newest.table_id) or until < served.version:
            raise ServingError(
                expected=f"the Delta table {self.uri} that was served up to version {served.version}",
                found=f"another one in its place, at version {until}",
                do="Make its rows complete (`listenlake kpis run --mode recompute --repair` computes every date), "
                "then serve it anew: `listenlake kpis rebuild`.",
            )
        if until > served.version:
            outcomes = self._apply(served, newest)
            self.run.report.facts[f"{self.table.name}_served"] = outcomes
            self.run.boundaries.passed(f"{self.table.name}_items_written")
            self.run.lease.check()
            done = Served(until, served.version_offset, newest.table_id)
            self.progress.move(done, run_id=self.run.id)

    def forget(self) -> Served:
        """Record that nothing is served, with an offset that makes the next versions newer than any that were."""
        before, table = self.progress.read(), self._newest()
        found = self.writer.newest_version()
        newest = max(BEFORE_ANY if found is None else found, before.source_version if before else BEFORE_ANY)
        least = before.version_offset + 1 if before else 0
        offset = max(least, newest + 1 - table.version)
        served = Served(BEFORE_ANY, offset, table.table_id)
        self.run.lease.check()
        self.progress.move(served, run_id=self.run.id)
        return served

    def _apply(self, served: Served, newest: Snapshot) -> dict[str, int]:
        rows = SmallTable(self.run.s3, self.table, self.run.settings)
        if served.version != BEFORE_ANY:
            feed = rows.changes(after=served.version, until=newest.version)
            return self._write(latest_changes(feed, self.table.contract), served)
        outcomes = Counter(self._write(as_changes(rows.read(newest), version=newest.version), served))
        outcomes.update(self.writer.apply(self.writer.older_than(served.version_offset + newest.version)))
        return dict(outcomes)

    def _write(self, changes: Iterable[Change], served: Served) -> dict[str, int]:
        return self.writer.apply(to_items(changes, self.table.contract, version_offset=served.version_offset))

    def _newest(self) -> Snapshot:
        """Return the table as it is now; it is made where it is not there yet."""
        return made(self.run.spark, self.run.s3, self.table, self.run.settings)

    @property
    def uri(self) -> str:
        return self.table.uri(self.run.settings)

    @cached_property
    def progress(self) -> ServedProgress:
        return ServedProgress(self.run.dynamodb, self.run.settings.control_table, self.table.name)

    @cached_property
    def writer(self) -> ItemWriter:
        empty = _EMPTY[self.table.name]
        check = self.run.lease.check
        return ItemWriter(self.run.dynamodb, self.dynamodb_table, self.table.contract.key, empty, self.run.now, check)
