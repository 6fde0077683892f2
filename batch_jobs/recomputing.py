"""The recompute: partials and KPIs from the listens alone, compared with what is kept and published.

Both ways of computing must give the same bits, so any difference is drift: a defect, or a table that was tampered
with. It is reported by table; whether it is also repaired is up to who starts the run. What does not differ is not
written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date

import pyarrow as pa
from pyspark.sql import Row

from batch_jobs.partial_sums import count_differences
from batch_jobs.partial_table import Computed, PartialTable, fence_of
from batch_jobs.publishing import PRESENTED, derived, published_dates
from batch_jobs.quality import totals
from batch_jobs.replacing import Replacing
from batch_jobs.serving import serve
from batch_jobs.validation_metrics import append_metrics
from lakehouse.delta_commits import of_dates
from lakehouse.delta_log import dates_of
from lakehouse.errors import ListenlakeError
from lakehouse.jobs import Run
from lakehouse.lake_tables import LATEST, PARTIALS
from lakehouse.settings import KpiSettings
from lakehouse.tables import KPI_PARTIALS


class DriftError(ListenlakeError):
    """What is kept or published is not what the listens give."""


class _Comparison:
    """Partials as computed against those that are kept."""

    def __init__(self, run: Run[KpiSettings], partials: PartialTable) -> None:
        self.is_repair = run.settings.repair == "true"
        self.kept = partials.newest()
        self.replacing = Replacing(run, PARTIALS, self.kept)
        self.dates: list[date] = []
        self.rows = 0
        self.counts: list[Row] = []
        self._partials = partials

    def of(self, computed: Iterable[Computed]) -> Iterator[tuple[date, pa.Table]]:
        """Compare each date, put what is to be repaired beside what is kept, and pass the partials on."""
        for one in computed:
            self.counts += [one.counts] if one.counts else []
            if differing := count_differences(one.partials, self._partials.read(one.day, self.kept)):
                self.rows += differing
                self.dates.append(one.day)
                if self.is_repair:
                    self.replacing.put(one.partials, one.day)
            yield one.day, one.partials


def recompute(run: Run[KpiSettings], partials: PartialTable, *, version: int) -> None:
    """Compute the dates of the range again, report what differs, and put it right if told to.

    Args:
        run: The run.
        partials: The kept partials; they and everything published stand at `version`.
        version: Curated version to compute from.

    Raises:
        DriftError: Something differs, and the run was not told to repair it. Nothing was changed.
    """
    first, last = run.settings.from_date or date.min, run.settings.to_date or date.max
    comparison = _Comparison(run, partials)
    known = dates_of(run.s3, LATEST, run.settings, version=version) | comparison.kept.dates | published_dates(run)
    dates = sorted(day for day in known if first <= day <= last)
    with run.report.phase("recompute"):
        publication = derived(run, comparison.of(partials.computed(dates, version=version)), curated_version=version)
        drift = {KPI_PARTIALS.name: comparison.rows} | {table.name: publication.changed(table) for table in PRESENTED}
        run.report.facts.update(table_version=version, dates=len(dates), drift=drift)
        if any(drift.values()) and not comparison.is_repair:
            raise DriftError(
                expected=f"the rows that the listens of curated version {version} give",
                found=", ".join(f"{rows} other rows in {table}" for table, rows in drift.items() if rows),
                do="It is left as it was. Find the cause; "
                "`listenlake kpis run --mode recompute --repair` puts it right.",
            )
        if any(drift.values()):
            comparison.replacing.commit(of_dates(comparison.dates), curated_version=version)
            run.boundaries.passed("partials_restored")
            publication.commit(fence_of(partials.newest()))
    serve(run)
    append_metrics(run, totals(comparison.counts), version=version, consumed_before=version)
