"""The outcome of every delivery of a run, decided and counted before anything is written.

Flows in: deliveries, the dimensions, the listens merged so far. Flows out: one row per delivery with its outcome. What
must hold: no join loses or multiplies a delivery.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from batch_jobs.enrichment import with_dimensions, with_outcome
from batch_jobs.merging import Span, Spans, existing_listens
from lakehouse.errors import BalanceError
from lakehouse.jobs import Report

OutcomesByDate = dict[tuple[date | None, str], int]
"""Deliveries by (listen_date, outcome)."""


@dataclass(frozen=True)
class Decided:
    """What a run makes of deliveries.

    Attributes:
        outcomes: One row per delivery, with its outcome.
        counts: The same, counted.
        spans: What they reach over, by listen_date.
    """

    outcomes: DataFrame
    counts: OutcomesByDate
    spans: Spans


@contextmanager
def decided(
    listens: DataFrame, *, users: DataFrame, songs: DataFrame, latest: DataFrame, report: Report
) -> Iterator[Decided]:
    """Decide what becomes of deliveries, and keep it for as long as the block lasts.

    Args:
        listens: One row per delivery, as `batch_jobs.inputs` reads them.
        users: One row per user_id.
        songs: One row per track_id.
        latest: The curated listens.
        report: Gets the seconds.
    """
    with report.phase("read"):
        received = spans_by_date(listens)
        spans = {day: span for day, span in received.items() if day is not None}
    enriched = with_dimensions(listens, users=users, songs=songs)
    outcomes = with_outcome(enriched, existing=existing_listens(latest, spans)).persist()
    try:
        with report.phase("enrich"):
            counts = count_outcomes(outcomes, expected=sum(span.rows for span in received.values()))
        yield Decided(outcomes, counts, spans)
    finally:
        outcomes.unpersist()


def spans_by_date(listens: DataFrame) -> dict[date | None, Span]:
    """Return what the input reaches over, by date: it prunes everything that follows. Collects one row per date.

    Rows that a rule has rejected are counted under None: they are never merged, and their time may be any.
    """
    kept = F.col("reject_reason").isNull()
    time, event = F.unix_micros(F.when(kept, F.col("listen_time"))), F.when(kept, F.col("event_id"))
    day = F.when(kept, F.to_date("listen_time")).alias("day")
    bounds = [F.min(time), F.max(time), F.min(event), F.max(event)]
    by_date = listens.groupBy(day).agg(F.count("*"), *bounds).collect()
    return {
        day: Span(rows, first or 0, last or 0, low or "", high or "") for day, rows, first, last, low, high in by_date
    }


def count_outcomes(outcomes: DataFrame, *, expected: int) -> OutcomesByDate:
    """Count the deliveries by date and outcome. Collects one row per listen_date and outcome.

    Raises:
        BalanceError: A join lost or multiplied deliveries.
    """
    # An impossible time may be one that Python has no date for.
    day = F.when(F.col("outcome") != "impossible_time", F.col("listen_date")).alias("listen_date")
    counted = outcomes.groupBy(day, "outcome").agg(F.count("*").alias("rows")).collect()
    counts = {(row["listen_date"], str(row["outcome"])): int(row["rows"]) for row in counted}
    if sum(counts.values()) != expected:
        raise BalanceError(
            expected=f"{expected} deliveries after the joins, as many as before",
            found=str(sum(counts.values())),
            do="A dimension has several rows for one key. Nothing was merged.",
        )
    return counts


def total_by_outcome(counts: OutcomesByDate) -> dict[str, int]:
    """Return the deliveries by outcome, over all dates."""
    totals: Counter[str] = Counter()
    for (_, outcome), rows in counts.items():
        totals[outcome] += rows
    return dict(totals)
