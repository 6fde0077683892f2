"""Table care, by the one job that writes a table and under its lease: compaction, checkpoint, vacuum.

Only dates that are no longer written are compacted, and never the newest ones. A compaction changes no row
(`dataChange` is false), so whoever follows the change feed does not see it. What the feed still has to give since its
reader's last progress is never vacuumed: an insert is read from the very files that a compaction has replaced.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from delta.tables import DeltaTable

from lakehouse import layout
from lakehouse.batches import list_files
from lakehouse.control import CONSUMED, dimension_name, served_name
from lakehouse.delta import commit_metadata, committed_at, current_version, vacuum, write_checkpoint
from lakehouse.delta_log import Snapshot, read_snapshot
from lakehouse.jobs import Run
from lakehouse.settings import KpiSettings, TransformSettings
from lakehouse.tables import (
    ARCHIVED_LISTENS,
    CURATED_LISTENS,
    DAILY_GENRE_KPIS,
    DAILY_TOP_GENRES,
    KNOWN_SONGS,
    KNOWN_USERS,
    KPI_PARTIALS,
)

FILES_PER_DATE: Final = 1
"""More files than this and a settled date is compacted; Delta itself splits what is larger than a gigabyte."""
FILE_BYTES: Final = 1 << 30
NEWEST_DATES: Final = 2
_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True)
class CaredFor:
    """One Delta table.

    Attributes:
        name: Its name in reports.
        bucket: Where it lies.
        prefix: Its folder.
        reader: Progress record of whoever follows its changes; empty where nobody does.
        by_date: Whether it is partitioned by `listen_date`. Any other table is not compacted.
    """

    name: str
    bucket: str
    prefix: str
    reader: str = ""
    by_date: bool = False

    @property
    def uri(self) -> str:
        """Where Spark finds it."""
        return layout.uri(self.bucket, self.prefix)


def owned_by_transform(settings: TransformSettings) -> list[CaredFor]:
    """Return the tables that `batch_transform` writes."""
    bucket, users, songs = settings.curated_bucket, KNOWN_USERS.name, KNOWN_SONGS.name
    return [
        CaredFor(CURATED_LISTENS.name, bucket, layout.LATEST, reader=CONSUMED, by_date=True),
        CaredFor(users, bucket, layout.KNOWN_USERS, reader=dimension_name(users)),
        CaredFor(songs, bucket, layout.KNOWN_SONGS, reader=dimension_name(songs)),
    ]


def owned_by_kpis(settings: KpiSettings) -> list[CaredFor]:
    """Return the tables that `kpi_transformation` writes."""
    bucket = settings.presentation_bucket
    genres, charts = DAILY_GENRE_KPIS.name, DAILY_TOP_GENRES.name
    return [
        CaredFor(ARCHIVED_LISTENS.name, settings.curated_bucket, layout.ARCHIVE),
        CaredFor(KPI_PARTIALS.name, settings.curated_bucket, layout.PARTIALS, by_date=True),
        CaredFor(genres, bucket, layout.DAILY_LISTENS, reader=served_name(genres), by_date=True),
        CaredFor(charts, bucket, layout.TOP_GENRES, reader=served_name(charts)),
    ]


def maintain(run: Run[Any], tables: list[CaredFor]) -> None:
    """Take care of tables, one after the other; a table that is not there yet is passed over."""
    for table in tables:
        snapshot = read_snapshot(run.s3, table.bucket, table.prefix)
        if snapshot is None:
            continue
        delta = DeltaTable.forPath(run.spark, table.uri)
        facts: dict[str, object] = {"files_before": len(snapshot.files)}
        with run.report.phase("compact"):
            dates = crowded_dates(snapshot, before=settled_before(run)) if table.by_date else []
            facts["dates_compacted"] = len(dates)
            for day in dates:
                run.lease.check()
                with commit_metadata(run.spark, job=run.settings.program, run_id=run.id, compacted=day):
                    delta.optimize().where(f"listen_date = DATE'{day}'").executeCompaction()
        run.boundaries.passed(f"{table.name}_compacted")
        with run.report.phase("checkpoint"):
            run.lease.check()
            write_checkpoint(run.spark, table.uri)
        with run.report.phase("vacuum"):
            facts["objects_deleted"] = _vacuum(run, table, delta)
        after = read_snapshot(run.s3, table.bucket, table.prefix) or snapshot
        facts.update(files=len(after.files), version=after.version, checkpoint=after.checkpoint)
        run.report.facts[table.name] = facts
        run.boundaries.passed(f"{table.name}_vacuumed")


def settled_before(run: Run[Any]) -> date:
    """Return the first date that may still be written."""
    return (run.now() - timedelta(days=run.settings.settled_days)).date()


def crowded_dates(snapshot: Snapshot, *, before: date) -> list[date]:
    """Return the settled dates that have more files than they need, oldest first; never the newest of the table."""
    sizes: dict[date, list[int]] = defaultdict(list)
    for file in snapshot.files.values():
        if day := file.partition["listen_date"]:
            sizes[date.fromisoformat(day)].append(file.size)
    settled = [day for day in sorted(sizes)[:-NEWEST_DATES] if day < before]
    return [day for day in settled if len(sizes[day]) > max(FILES_PER_DATE, -(-sum(sizes[day]) // FILE_BYTES))]


def _vacuum(run: Run[Any], table: CaredFor, delta: DeltaTable) -> int | None:
    """Delete what neither the table nor the reader of its feed needs; None when nothing may be deleted yet."""
    hours = run.settings.retain_hours
    if table.reader:
        progress = run.progress.read(table.reader)
        if progress is None:
            return None
        newest = current_version(delta)
        if progress < newest:
            # Files that the feed still has to give went out of use no earlier than the first commit it has to give.
            unread = datetime.now(UTC) - committed_at(delta, progress + 1) + _HOUR
            hours = max(hours, unread / _HOUR)
    run.lease.check()
    before = _count(run, table)
    vacuum(run.spark, delta, hours)
    return before - _count(run, table)


def _count(run: Run[Any], table: CaredFor) -> int:
    return sum("/_delta_log/" not in file.key for file, _ in list_files(run.s3, table.bucket, table.prefix))
