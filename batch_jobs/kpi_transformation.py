"""Glue job `kpi_transformation`: what changed in `latest/` becomes KPIs, and what changed in the KPIs is served.

With v0 the curated version of the last complete run and v1 the newest one, both pinned: copy the consumed rows to
`archive/`, rebuild the touched dates as of v1 in the presentation tables, serve, add the line of metrics, and record v1
last. A crash between any two steps is repaired by running again. A recompute works as of v0 and does not move it.

    spark-submit batch_jobs/kpi_transformation.py --mode incremental
    spark-submit batch_jobs/kpi_transformation.py --mode recompute --from_date 2024-06-25 --to_date 2024-06-26
"""

from __future__ import annotations

import logging
import os
import sys
from datetime import date

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from batch_jobs.kpis import daily_genre_kpis, daily_top_genres
from batch_jobs.maintenance import maintain, owned_by_kpis
from batch_jobs.presentation import changed_rows, merge_changes, with_provenance
from batch_jobs.quality import count_by_rule, valid_listens
from batch_jobs.serving import rebuild, serve
from batch_jobs.validation_metrics import append_line
from lakehouse import layout
from lakehouse.control import CONSUMED
from lakehouse.delta import (
    BEFORE_ANY,
    commit_metadata,
    current_version,
    date_list,
    open_table,
    read_changes,
    read_version,
)
from lakehouse.errors import BalanceError
from lakehouse.jobs import Run, run_job
from lakehouse.settings import KpiSettings
from lakehouse.tables import (
    ARCHIVED_LISTENS,
    CURATED_LISTENS,
    DAILY_GENRE_KPIS,
    DAILY_TOP_GENRES,
    VALIDATION_METRICS_HEADER,
    Table,
)

logger = logging.getLogger(__name__)


def run(run: Run[KpiSettings]) -> None:
    """Bring the KPIs up to date, compute a range of dates again, or serve everything anew."""
    run.report.facts["mode"] = run.settings.mode
    if run.settings.mode == "rebuild":
        rebuild(run)
        return
    if run.settings.mode == "maintain":
        maintain(run, owned_by_kpis(run.settings))
        return
    consumed = run.progress.read(CONSUMED)
    before = BEFORE_ANY if consumed is None else consumed
    if run.settings.mode == "incremental":
        _run_incremental(run, before)
    elif consumed is not None:
        _run_recompute(run, before)
    else:
        run.report.facts["note"] = "nothing was consumed yet, so there is nothing to compute again"


def _run_incremental(run: Run[KpiSettings], before: int) -> None:
    latest = open_table(run.spark, CURATED_LISTENS, _latest_uri(run))
    until = current_version(latest)
    run.report.facts.update(from_version=before, table_version=until)
    metrics: dict[str, int] = {}
    if until > before:
        changes = read_changes(run.spark, _latest_uri(run), after=before, until=until).persist()
        try:
            with run.report.phase("consume"):
                metrics = count_by_rule(changes.where(_arrived()))
                dates = _distinct_dates(changes)
                _archive_consumed(run, changes.where(_arrived()), before=before, until=until)
        finally:
            changes.unpersist()
        run.boundaries.passed("consumed_archived")
        _rebuild(run, dates, until)
    serve(run)
    if until > before:
        _append_metrics(run, metrics, version=until, consumed_before=before)
        run.boundaries.passed("metrics_written")
        run.lease.check()
        run.progress.advance(CONSUMED, version=until, run_id=run.id)
        run.boundaries.passed("progress_recorded")


def _run_recompute(run: Run[KpiSettings], version: int) -> None:
    listens = read_version(run.spark, _latest_uri(run), version)
    kpis = open_table(run.spark, DAILY_GENRE_KPIS, _presentation_uri(run, layout.DAILY_LISTENS)).toDF()
    known = set(_distinct_dates(listens)) | set(_distinct_dates(kpis))
    first, last = run.settings.from_date or date.min, run.settings.to_date or date.max
    dates = sorted(day for day in known if first <= day <= last)
    run.report.facts.update(table_version=version, dates=len(dates))
    with run.report.phase("consume"):
        metrics = count_by_rule(listens.where(_on(dates)))
    _rebuild(run, dates, version)
    serve(run)
    _append_metrics(run, metrics, version=version, consumed_before=version)


def _archive_consumed(run: Run[KpiSettings], rows: DataFrame, *, before: int, until: int) -> None:
    uri = layout.uri(run.settings.curated_bucket, layout.ARCHIVE)
    open_table(run.spark, ARCHIVED_LISTENS, uri)
    run.lease.check()
    labelled = rows.withColumn("consumed_version", F.lit(until).cast("bigint")).select(*ARCHIVED_LISTENS.columns)
    # Replaces what a run that did not finish has left beyond the last complete one.
    labelled.write.format("delta").mode("overwrite").option("replaceWhere", f"consumed_version > {before}").save(uri)


def _rebuild(run: Run[KpiSettings], dates: list[date], version: int) -> None:
    """Compute whole dates from the listens as of `version` and write what differs."""
    if not dates:
        return
    listens = valid_listens(read_version(run.spark, _latest_uri(run), version).where(_on(dates)))
    genre_kpis = daily_genre_kpis(listens).persist()
    try:
        with run.report.phase("kpis"):
            _check_balance(listens, genre_kpis)
            _publish(run, DAILY_GENRE_KPIS, layout.DAILY_LISTENS, genre_kpis, dates=dates, version=version)
            run.boundaries.passed("daily_listens_committed")
            _publish(
                run, DAILY_TOP_GENRES, layout.TOP_GENRES, daily_top_genres(genre_kpis), dates=dates, version=version
            )
            run.boundaries.passed("top_genres_committed")
    finally:
        genre_kpis.unpersist()


def _publish(
    run: Run[KpiSettings], table: Table, key: str, kpis: DataFrame, *, dates: list[date], version: int
) -> None:
    delta = open_table(run.spark, table, _presentation_uri(run, key))
    wanted = with_provenance(kpis, curated_version=version, run_id=run.id, computed_at=run.now())
    changes = changed_rows(delta.toDF().where(_on(dates)), wanted, table).persist()
    try:
        changed = changes.count()
        if changed:
            run.lease.check()
            with commit_metadata(run.spark, job=layout.KPI_JOB, run_id=run.id, curated_version=version):
                merge_changes(delta, changes, table, dates)
        run.report.facts[f"{table.name}_changed"] = changed
    finally:
        changes.unpersist()


def _check_balance(listens: DataFrame, genre_kpis: DataFrame) -> None:
    """Compare, per day, valid listens with the sum over genres. Collects one row per day that differs.

    Raises:
        BalanceError: They differ; nothing was published.
    """
    counted = listens.groupBy("listen_date").agg(F.count("*").alias("listens"))
    summed = genre_kpis.groupBy("listen_date").agg(F.sum("listen_count").alias("in_genres"))
    both = counted.join(summed, on="listen_date", how="full_outer")
    wrong = both.where(~F.col("listens").eqNullSafe(F.col("in_genres"))).collect()
    if wrong:
        raise BalanceError(
            expected=f"{wrong[0]['listens']} listens of {wrong[0]['listen_date']} over all genres",
            found=str(wrong[0]["in_genres"]),
            do="Nothing was published. The KPIs or the curated table are broken; compare them by genre.",
        )


def _append_metrics(run: Run[KpiSettings], metrics: dict[str, int], *, version: int, consumed_before: int) -> None:
    told = {
        "timestamp": run.now().isoformat(timespec="seconds"),
        "run_id": run.id,
        "table_version": str(version),
        "mode": run.settings.mode,
    }
    line = {name: told.get(name) or str(metrics[name]) for name in VALIDATION_METRICS_HEADER}
    bucket = run.settings.presentation_bucket
    append_line(run.s3, bucket, layout.VALIDATION_METRICS_KEY, line, consumed_before=consumed_before)
    run.report.facts["validation"] = metrics


def _arrived() -> Column:
    return F.col("_change_type").isin("insert", "update_postimage")


def _on(dates: list[date]) -> str:
    return f"listen_date IN ({date_list(dates)})" if dates else "false"


def _distinct_dates(frame: DataFrame) -> list[date]:
    """Collect the distinct listen dates, one row each."""
    return sorted(row["listen_date"] for row in frame.select("listen_date").distinct().collect())


def _latest_uri(run: Run[KpiSettings]) -> str:
    return layout.uri(run.settings.curated_bucket, layout.LATEST)


def _presentation_uri(run: Run[KpiSettings], key: str) -> str:
    return layout.uri(run.settings.presentation_bucket, key)


if __name__ == "__main__":
    code = run_job(KpiSettings, run, arguments=sys.argv[1:], environment=os.environ)
    if code:
        sys.exit(code)
