"""Rows of a presentation table as items: plain values with their version, streamed, never collected as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from lakehouse.tables import Table

Item = dict[str, Any]

_VERSION: Final = "_commit_version"
_CHANGE: Final = "_change_type"
_TIME_FORMAT: Final = "yyyy-MM-dd'T'HH:mm:ss.SSSSSS'Z'"


def latest_changes(changes: DataFrame, table: Table) -> DataFrame:
    """Reduce a change feed to the newest change of each key. One row per key that changed."""
    outcomes = changes.where(F.col(_CHANGE) != "update_preimage")
    # What one commit has deleted and inserted with the same values has only been written to another file.
    told = outcomes.groupBy(*table.columns, _VERSION).agg(
        F.min(_CHANGE).alias(_CHANGE), F.max(_CHANGE).alias("last_change")
    )
    changed = told.where(F.col(_CHANGE) == F.col("last_change"))
    # Of a key deleted and inserted by one commit the insert is the outcome; it sorts last.
    newest = Window.partitionBy(*table.key).orderBy(F.col(_VERSION).desc(), F.col(_CHANGE).desc())
    ranked = changed.withColumn("newest", F.row_number().over(newest)).where(F.col("newest") == 1)
    return ranked.drop("newest", "last_change")


def as_changes(rows: DataFrame, *, version: int) -> DataFrame:
    """Render a whole table as of `version` as if that commit had written every row. Grain as given."""
    return rows.withColumns({_VERSION: F.lit(version).cast("bigint"), _CHANGE: F.lit("insert")})


def to_items(changes: DataFrame, table: Table, *, version_offset: int) -> Iterator[Item]:
    """Yield changes as items of plain values: str, int, Decimal, list, dict; a date and a time as ISO 8601 text.

    Args:
        changes: Output of `latest_changes` or `as_changes`; one partition at a time is held in memory.
        table: The contract of the presentation table.
        version_offset: What is added to a commit's version to give `source_version`.
    """
    as_text = changes.withColumns(
        {"listen_date": F.col("listen_date").cast("string"), "computed_at": F.date_format("computed_at", _TIME_FORMAT)}
    )
    for row in as_text.toLocalIterator():
        values = row.asDict(recursive=True)
        version, gone = values.pop(_VERSION), values.pop(_CHANGE) == "delete"
        kept = table.key if gone else table.columns
        item = {name: values[name] for name in kept if values[name] is not None}
        yield {**item, "source_version": version_offset + version, "deleted": gone}
