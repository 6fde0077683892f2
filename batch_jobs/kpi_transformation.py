"""Glue job `kpi_transformation`: what changed in `latest/` becomes KPIs, and what changed in the KPIs is served.

With v0 the curated version of the last complete run and v1 the newest one, both pinned: copy the consumed rows to
`archive/` and, beside that, bring the partial aggregates to v1; derive the KPIs of the touched dates from them, serve,
add the line of metrics, and record v1 last. A crash between any two steps is repaired by running again. A recompute
computes partials and KPIs from the listens of one curated version, the one that the partials stand for, and does not
move it.

    spark-submit batch_jobs/kpi_transformation.py --mode incremental
    spark-submit batch_jobs/kpi_transformation.py --mode recompute --from_date 2024-06-25 --to_date 2024-06-26
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import date

from batch_jobs.consumed_archive import ConsumedArchive
from batch_jobs.consuming import Changes, changes_between
from batch_jobs.maintenance import maintain
from batch_jobs.partial_table import PartialTable, fence_of
from batch_jobs.publishing import derived
from batch_jobs.recomputing import recompute
from batch_jobs.serving import rebuild, serve
from batch_jobs.validation_metrics import append_metrics
from lakehouse.control import CONSUMED
from lakehouse.delta import BEFORE_ANY, made
from lakehouse.jobs import Run, run_job
from lakehouse.lake_tables import LATEST
from lakehouse.settings import KpiSettings


def run(run: Run[KpiSettings]) -> None:
    """Bring the KPIs up to date, compute a range of dates again, or serve everything anew."""
    run.report.facts["mode"] = run.settings.mode
    if run.settings.mode == "rebuild":
        rebuild(run)
        return
    if run.settings.mode == "maintain":
        maintain(run)
        return
    consumed = run.progress.read(CONSUMED)
    before = BEFORE_ANY if consumed is None else consumed
    partials = PartialTable(run)
    if run.settings.mode == "incremental":
        _catch_up(run, partials, before=before, until=made(run.spark, run.s3, LATEST, run.settings).version)
    elif consumed is None:
        run.report.facts["note"] = "nothing was consumed yet, so there is nothing to compute again"
    else:
        # What a run that did not finish has left is finished first: then everything stands at one curated version.
        version = max(before, partials.reached())
        if version > before:
            _catch_up(run, partials, before=before, until=version)
        else:
            _reach(run, partials, None, before=before, until=version)
        recompute(run, partials, version=version)


def _catch_up(run: Run[KpiSettings], partials: PartialTable, *, before: int, until: int) -> None:
    """Consume the curated versions (`before`, `until`], and serve."""
    run.report.facts.update(from_version=before, table_version=until)
    if until == before:
        _reach(run, partials, None, before=before, until=until)
        serve(run)
        return
    with run.report.phase("consume"):
        changes = changes_between(run, after=before, until=until)
    archive = ConsumedArchive(run, before=before, until=until)
    with ThreadPoolExecutor(1) as beside:
        copying = beside.submit(archive.copy, changes.arrived())
        _reach(run, partials, changes, before=before, until=until)
        with run.report.phase("archive"):
            copying.result()
            archive.commit()
    run.boundaries.passed("consumed_archived")
    _publish(run, partials, changes.touched().all, until=until)
    serve(run)
    run.lease.check()
    append_metrics(run, changes.metrics(), version=until, consumed_before=before)
    run.boundaries.passed("metrics_written")
    run.lease.check()
    run.progress.advance(CONSUMED, version=until, run_id=run.id)
    run.boundaries.passed("progress_recorded")


def _reach(run: Run[KpiSettings], partials: PartialTable, changes: Changes | None, *, before: int, until: int) -> None:
    """Bring the partials to `until`. An earlier run may have done so, or they may be lost and are made anew."""
    reached = partials.reached()
    if reached >= until:
        return
    with run.report.phase("partials"):
        if changes is None or reached < max(before, 0):
            partials.begin(until)
        else:
            partials.advance(changes, reached=reached, until=until)
    run.boundaries.passed("partials_committed")


def _publish(run: Run[KpiSettings], partials: PartialTable, dates: list[date], *, until: int) -> None:
    if not dates:
        return
    newest = partials.newest()
    with run.report.phase("kpis"):
        kept = ((day, partials.read(day, newest)) for day in dates)
        publication = derived(run, kept, curated_version=until)
        run.boundaries.passed("kpis_derived")
        publication.commit(fence_of(newest))


if __name__ == "__main__":
    code = run_job(KpiSettings, run, arguments=sys.argv[1:], environment=os.environ)
    if code:
        sys.exit(code)
