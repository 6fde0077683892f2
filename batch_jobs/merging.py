"""The insert-only MERGE into `transformed-data/latest/`: what makes every listen count once.

The dates that a run touches, and on each the times and ids that it brings, enter the condition as literals: only then
does Delta neither read nor rewrite a file of any other date, nor read a file of the same date that has none of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import reduce
from typing import Final

from delta.tables import DeltaTable
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse.tables import CURATED_LISTENS

ROWS_OF_A_TASK: Final = 250_000
"""Listens of one date above which a task of its own would hold a MERGE up: several write such a date."""


@dataclass(frozen=True)
class Span:
    """What some deliveries of one date reach over.

    Attributes:
        rows: How many they are.
        first_time: Earliest `listen_time`, in microseconds since 1970, UTC.
        last_time: Latest `listen_time`.
        first_id: Least `event_id`.
        last_id: Greatest `event_id`.
    """

    rows: int
    first_time: int
    last_time: int
    first_id: str
    last_id: str


Spans = Mapping[date, Span]


def within(spans: Spans, table: str = "") -> Column:
    """Return whether a listen may be one of those that reach over `spans`.

    Args:
        spans: By listen_date.
        table: The alias of the listen's table, with its dot; empty where there is only one.
    """
    if not spans:
        return F.lit(False)
    time, event = F.col(f"{table}listen_time"), F.col(f"{table}event_id")
    each = [
        time.between(_at(span.first_time), _at(span.last_time))
        & event.between(F.lit(span.first_id), F.lit(span.last_id))
        for _, span in sorted(spans.items())
    ]
    # The dates stand alone: as a part of the alternatives they would not choose partitions.
    return F.col(f"{table}listen_date").isin(sorted(spans)) & reduce(Column.__or__, each)


def existing_listens(latest: DataFrame, spans: Spans) -> DataFrame:
    """Return the listens merged so far that may equal one of `spans`. One row per listen, as `CURATED_LISTENS`."""
    return latest.where(within(spans))


def merge_new(latest: DeltaTable, listens: DataFrame, spans: Spans) -> None:
    """Insert the listens whose key is not in the table yet; commits nothing when all of them are.

    Args:
        latest: The curated table.
        listens: One row per (listen_date, listen_time, event_id), columns of `CURATED_LISTENS`.
        spans: What `listens` reaches over, or more.
    """
    same = [F.col(f"t.{name}") == F.col(f"s.{name}") for name in ("listen_date", *CURATED_LISTENS.key)]
    condition = reduce(Column.__and__, same, within(spans, "t."))
    with _gathered_by_date(listens.sparkSession, all(span.rows <= ROWS_OF_A_TASK for span in spans.values())):
        latest.alias("t").merge(listens.alias("s"), condition).whenNotMatchedInsertAll().execute()


@contextmanager
def _gathered_by_date(spark: SparkSession, gathered: bool) -> Iterator[None]:
    """Let one task write a date, into one file; or let each task write what it has of a date."""
    name = "spark.databricks.delta.merge.repartitionBeforeWrite.enabled"
    spark.conf.set(name, str(gathered).lower())
    try:
        yield
    finally:
        spark.conf.unset(name)


def _at(microseconds: int) -> Column:
    # A literal from the start: Delta skips files by literals only.
    return F.lit(datetime.fromtimestamp(microseconds // 1_000_000, UTC).replace(microsecond=microseconds % 1_000_000))
