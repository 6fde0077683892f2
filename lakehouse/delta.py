"""Small helpers over Delta's public API: create by contract, versions, change feed, commits that say who made them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse.delta_log import Snapshot, read_snapshot, snapshot_of
from lakehouse.spark import schema_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from lakehouse.lake_tables import LakeTable
    from lakehouse.settings import Places
    from lakehouse.tables import Table

_USER_METADATA = "spark.databricks.delta.commitInfo.userMetadata"
BEFORE_ANY = -1
"""The version before a table's first: where a consumer stands that has read nothing."""


def open_table(spark: SparkSession, table: Table, uri: str) -> DeltaTable:
    """Return the Delta table at `uri`, created empty by its contract when it is not there yet.

    A table that somebody follows (`Table.has_change_feed`) gets a change feed.
    """
    if DeltaTable.isDeltaTable(spark, uri):
        return DeltaTable.forPath(spark, uri)
    builder = (
        DeltaTable.createIfNotExists(spark)
        .location(uri)
        .addColumns(schema_of(table))
        .property("delta.enableChangeDataFeed", str(table.has_change_feed).lower())
    )
    if table.partition_by:
        builder = builder.partitionedBy(*table.partition_by)
    return builder.execute()


def made(spark: SparkSession, s3: S3Client, table: LakeTable, places: Places) -> Snapshot:
    """Return a table as it is now, created empty when it is not there yet."""
    there = read_snapshot(s3, table.bucket(places), table.prefix)
    if there is None:
        open_table(spark, table.contract, table.uri(places))
    return there or snapshot_of(s3, table, places)


def committed_at(table: DeltaTable, version: int, *, newest: int) -> datetime:
    """Return when a commit was made. Reads the commits from then to the newest.

    Raises:
        AssertionError: The log no longer has it.
    """
    row = (
        table.history(newest - version + 1)
        .where(F.col("version") == version)
        .select(F.unix_micros("timestamp"))
        .first()
    )
    if row is None:
        raise AssertionError(f"the log has no commit {version}")
    return datetime.fromtimestamp(row[0] / 1_000_000, UTC)


def write_checkpoint(spark: SparkSession, uri: str) -> None:
    """Write the table's newest version as a checkpoint, so that no reader replays the commits before it.

    Delta does so by itself at every tenth commit; its public API has no call for it.
    """
    jvm: Any = spark._jvm
    # With its snapshot, so that what was committed without Spark is looked for first.
    jvm.org.apache.spark.sql.delta.DeltaLog.forTableWithSnapshot(spark._jsparkSession, uri)._1().checkpoint()


def vacuum(spark: SparkSession, table: DeltaTable, hours: float) -> None:
    """Delete files that no version of the last `hours` uses."""
    # Delta refuses less than a week lest a writer be under way; the owner of the table holds its lease here.
    check = "spark.databricks.delta.retentionDurationCheck.enabled"
    spark.conf.set(check, "false")
    try:
        table.vacuum(hours)
    finally:
        spark.conf.unset(check)


def read_version(spark: SparkSession, uri: str, version: int) -> DataFrame:
    """Return the table as of `version`. Its grain is the table's."""
    return spark.read.format("delta").option("versionAsOf", version).load(uri)


def read_changes(spark: SparkSession, uri: str, *, after: int, until: int) -> DataFrame:
    """Return the change feed of versions (`after`, `until`]. One row per changed row and change."""
    return (
        spark.read.format("delta")
        .option("readChangeFeed", "true")
        .option("startingVersion", after + 1)
        .option("endingVersion", until)
        .load(uri)
    )


@contextmanager
def commit_metadata(spark: SparkSession, **metadata: Any) -> Iterator[None]:
    """Write `metadata` as JSON into every commit made inside the block."""
    spark.conf.set(_USER_METADATA, json.dumps(metadata, default=str, sort_keys=True))
    try:
        yield
    finally:
        spark.conf.unset(_USER_METADATA)


def on_dates(dates: list[date]) -> str:
    """Render the predicate that picks dates, by literals: only these let Delta skip the files of other dates.

    With no dates it picks nothing.
    """
    literals = ", ".join(f"DATE'{day.isoformat()}'" for day in sorted(dates))
    return f"listen_date IN ({literals})" if literals else "false"
