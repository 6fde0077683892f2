"""Table care, by the one job that writes a table and under its lease: compaction, checkpoint, vacuum.

Only dates that are no longer written are compacted, and never the newest ones. A compaction changes no row
(`dataChange` is false), so whoever follows the change feed does not see it. What the feed still has to give since its
reader's last progress is never vacuumed: an insert is read from the very files that a compaction has replaced.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from delta.tables import DeltaTable

from lakehouse.batches import list_files
from lakehouse.delta import commit_metadata, committed_at, vacuum, write_checkpoint
from lakehouse.delta_log import Snapshot, read_snapshot, version_of
from lakehouse.jobs import Run
from lakehouse.lake_tables import DATE, LAKE_TABLES, LakeTable

FILES_PER_DATE: Final = 1
"""More files than this and a settled date is compacted; Delta itself splits what is larger than a gigabyte."""
FILE_BYTES: Final = 1 << 30
NEWEST_DATES: Final = 2
_HOUR: Final = timedelta(hours=1)


def maintain(run: Run[Any]) -> None:
    """Take care of the tables that this job writes, one after the other; one that is not there yet is passed over."""
    for table in (table for table in LAKE_TABLES if table.writer == run.settings.program):
        bucket, uri = table.bucket(run.settings), table.uri(run.settings)
        snapshot = read_snapshot(run.s3, bucket, table.prefix)
        if snapshot is None:
            continue
        delta = DeltaTable.forPath(run.spark, uri)
        facts: dict[str, object] = {"files_before": len(snapshot.files)}
        with run.report.phase("compact"):
            dates = crowded_dates(snapshot, before=settled_before(run)) if table.by_date else []
            facts["dates_compacted"] = len(dates)
            for day in dates:
                run.lease.check()
                with commit_metadata(run.spark, job=run.settings.program, run_id=run.id, compacted=day):
                    delta.optimize().where(f"{DATE} = DATE'{day}'").executeCompaction()
        run.boundaries.passed(f"{table.name}_compacted")
        with run.report.phase("checkpoint"):
            run.lease.check()
            write_checkpoint(run.spark, uri)
        with run.report.phase("vacuum"):
            facts["objects_deleted"] = _vacuum(run, table, delta)
        after = read_snapshot(run.s3, bucket, table.prefix) or snapshot
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
        if day := file.partition[DATE]:
            sizes[date.fromisoformat(day)].append(file.size)
    settled = [day for day in sorted(sizes)[:-NEWEST_DATES] if day < before]
    return [day for day in settled if len(sizes[day]) > max(FILES_PER_DATE, -(-sum(sizes[day]) // FILE_BYTES))]


def _vacuum(run: Run[Any], table: LakeTable, delta: DeltaTable) -> int | None:
    """Delete what neither the table nor the reader of its feed needs; None when nothing may be deleted yet."""
    hours = run.settings.retain_hours
    if table.reader:
        progress = run.progress.read(table.reader)
        if progress is None:
            return None
        newest = version_of(run.s3, table, run.settings)
        if progress < newest:
            # Files that the feed still has to give went out of use no earlier than the first commit it has to give.
            unread = datetime.now(UTC) - committed_at(delta, progress + 1, newest=newest) + _HOUR
            hours = max(hours, unread / _HOUR)
    run.lease.check()
    before = _count(run, table)
    vacuum(run.spark, delta, hours)
    return before - _count(run, table)


def _count(run: Run[Any], table: LakeTable) -> int:
    return sum(
        "/_delta_log/" not in file.key for file, _ in list_files(run.s3, table.bucket(run.settings), table.prefix)
    )
