"""What a run of `batch_transform` would do, without doing it: nothing is written, created, moved or deleted.

Flows in: the batches that wait, and the outcome of each of their deliveries. Flows out: the part `would` of the run's
report, by listen_date.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession

from batch_jobs.breaker import Breaker
from batch_jobs.outcomes import OutcomesByDate, total_by_outcome
from lakehouse.batches import Manifest
from lakehouse.errors import BreakerError
from lakehouse.spark import schema_of
from lakehouse.tables import Table

WITHOUT_DATE: Final = "no date"


def read_if_there(spark: SparkSession, table: Table, uri: str) -> DataFrame:
    """Return the Delta table at `uri`, empty when it is not there. Its grain is the table's."""
    if DeltaTable.isDeltaTable(spark, uri):
        return DeltaTable.forPath(spark, uri).toDF()
    return spark.createDataFrame([], schema_of(table))


def foresee(
    counts: OutcomesByDate, merging: Sequence[Manifest], archiving: Sequence[Manifest], breaker: Breaker
) -> dict[str, Any]:
    """Return what would happen.

    Args:
        counts: Deliveries by (listen_date, outcome).
        merging: The batches that would be merged.
        archiving: The batches that would be archived.
        breaker: Whether it would let the run go on.
    """
    dates: dict[str, dict[str, int]] = defaultdict(dict)
    for (day, outcome), rows in sorted(counts.items(), key=lambda entry: (str(entry[0][0]), entry[0][1])):
        dates[str(day or WITHOUT_DATE)][outcome] = rows
    would: dict[str, Any] = {
        "merge_batches": len(merging),
        "archive_batches": len(archiving),
        "archive_objects": sum(len(manifest.files) for manifest in archiving),
        "dates": dict(dates),
    }
    try:
        breaker.check(merging, total_by_outcome(counts))
    except BreakerError as stop:
        would["stop"] = str(stop)
        would.update(merge_batches=0, archive_batches=0, archive_objects=0)
    return would
