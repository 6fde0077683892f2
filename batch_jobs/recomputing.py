"""The recompute: partials and KPIs from the listens alone, compared with what is kept and published.

Both ways of computing must give the same bits, so any difference is drift: a defect, or a table that was tampered
with. It is reported by table; whether it is also repaired is up to who starts the run. What does not differ is not
written.
"""

from __future__ import annotations

from datetime import date

from batch_jobs.partial_table import PartialTable
from batch_jobs.partials import count_differences, parts_of, united
from batch_jobs.publishing import PRESENTED, derived, published_dates
from batch_jobs.quality import count_by_date, totals
from batch_jobs.serving import serve
from batch_jobs.validation_metrics import append_metrics
from lakehouse.delta import on_dates, read_version
from lakehouse.delta_log import dates_of
from lakehouse.errors import ListenlakeError
from lakehouse.jobs import Run
from lakehouse.lake_tables import LATEST
from lakehouse.settings import KpiSettings
from lakehouse.tables import KPI_PARTIALS


class DriftError(ListenlakeError):
    """What is kept or published is not what the listens give."""


def recompute(run: Run[KpiSettings], partials: PartialTable, *, version: int) -> None:
    """Compute the dates of the range again, report what differs, and put it right if told to.

    Args:
        run: The run.
        partials: The kept partials; they and everything published stand at `version`.
        version: Curated version to compute from.

    Raises:
        DriftError: Something differs, and the run was not told to repair it. Nothing was changed.
    """
    listens = read_version(run.spark, LATEST.uri(run.settings), version)
    first, last = run.settings.from_date or date.min, run.settings.to_date or date.max
    known = dates_of(run.s3, LATEST, run.settings, version=version) | partials.dates() | published_dates(run)
    dates = sorted(day for day in known if first <= day <= last)
    whole = listens.where(on_dates(dates))
    counted = count_by_date(whole).persist()
    computed = united(parts_of(whole, counted)).persist()
    try:
        with run.report.phase("recompute"):
            publication = derived(run, computed, dates, curated_version=version)
            metrics = totals(counted.collect())
            drift = {KPI_PARTIALS.name: count_differences(computed, partials.read(dates))}
            drift |= {table.name: publication.changed(table) for table in PRESENTED}
            run.report.facts.update(table_version=version, dates=len(dates), drift=drift)
            if any(drift.values()) and run.settings.repair == "false":
                raise DriftError(
                    expected=f"the rows that the listens of curated version {version} give",
                    found=", ".join(f"{rows} other rows in {table}" for table, rows in drift.items() if rows),
                    do="It is left as it was. Find the cause; "
                    "`listenlake kpis run --mode recompute --repair` puts it right.",
                )
            if any(drift.values()):
                partials.restore(computed, dates, until=version)
                run.boundaries.passed("partials_restored")
                publication.commit(partials.fence())
    finally:
        computed.unpersist()
        counted.unpersist()
    serve(run)
    append_metrics(run, metrics, version=version, consumed_before=version)
