"""Counts of deliveries, before and after the joins: no join may lose or multiply one."""

from __future__ import annotations

from collections import Counter
from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakehouse.errors import BalanceError

OutcomesByDate = dict[tuple[date | None, str], int]
"""Deliveries by (listen_date, outcome)."""


def rows_by_date(listens: DataFrame) -> dict[date | None, int]:
    """Count the input by date. Collects one row per listen_date; the dates prune everything that follows."""
    counted = listens.groupBy(F.to_date("listen_time").alias("day")).agg(F.count("*").alias("rows")).collect()
    return {row["day"]: int(row["rows"]) for row in counted}


def count_outcomes(outcomes: DataFrame, *, expected: int) -> OutcomesByDate:
    """Count the deliveries by date and outcome. Collects one row per listen_date and outcome.

    Raises:
        BalanceError: A join lost or multiplied deliveries.
    """
    counted = outcomes.groupBy("listen_date", "outcome").agg(F.count("*").alias("rows")).collect()
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
