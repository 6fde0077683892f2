"""The dimensions as Delta tables: a file is read again only when its content has changed.

Flows in: users.csv and songs.csv, each recognised by its ETag. Flows out: one row per key with the columns that listens
take. What must hold: the commit that holds a file's rows names that file's ETag, so a crash leaves either the old
content under the old name or the new one under the new name. Names of users are not kept (decision 4).
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from batch_jobs.dimensions import Dimension, read_songs, read_users
from batch_jobs.rejects import replace_malformed_rows
from lakehouse import layout
from lakehouse.control import dimension_name
from lakehouse.delta import commit_metadata, open_table, read_version
from lakehouse.jobs import Run
from lakehouse.settings import TransformSettings
from lakehouse.tables import KNOWN_SONGS, KNOWN_USERS, Table

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """A dimension file and the table that keeps it.

    Attributes:
        name: Its name in reports and folders.
        table: The contract of the table.
        prefix: Folder of the table in the curated bucket.
        read: Reads the file.
    """

    name: str
    table: Table
    prefix: str
    read: Callable[[SparkSession, S3Client, str], Dimension]

    @property
    def progress(self) -> str:
        """Name of the version up to which its changes were acted upon."""
        return dimension_name(self.table.name)


USERS: Final = Source("users", KNOWN_USERS, layout.KNOWN_USERS, read_users)
SONGS: Final = Source("songs", KNOWN_SONGS, layout.KNOWN_SONGS, read_songs)


@dataclass(frozen=True)
class Known:
    """A dimension as of this run.

    Attributes:
        source: Where it comes from.
        rows: One row per key, columns of the table.
        version: Version of the table; None in a dry run that has met a changed file.
    """

    source: Source
    rows: DataFrame
    version: int | None


def refresh(run: Run[TransformSettings], source: Source) -> Known:
    """Return the dimension as its file is now, and keep it when the file has changed.

    Raises:
        DimensionError: The file can't be used.
    """
    found = source.read(run.spark, run.s3, run.settings.raw_bucket)
    stamp = _stamp(source, found)
    uri = _uri(run, source)
    delta = open_table(run.spark, source.table, uri)
    if _newest(delta)[1] != stamp:
        replace_malformed_rows(run.s3, run.settings.raw_bucket, source.name, found)
        rows = found.rows.select(*source.table.columns)
        run.lease.check()
        with commit_metadata(run.spark, job=layout.TRANSFORM_JOB, run_id=run.id, **stamp):
            rows.write.format("delta").mode("overwrite").option("overwriteSchema", "true").save(uri)
        logger.info("dimension read", extra={"dimension": source.name, "etag": found.etag})
    version = _newest(delta)[0]
    return Known(source, read_version(run.spark, uri, version), version)


def peek(run: Run[TransformSettings], source: Source) -> Known:
    """Return the dimension as its file is now, and keep nothing.

    Raises:
        DimensionError: The file can't be used.
    """
    found = source.read(run.spark, run.s3, run.settings.raw_bucket)
    uri = _uri(run, source)
    if DeltaTable.isDeltaTable(run.spark, uri):
        version, stamp = _newest(DeltaTable.forPath(run.spark, uri))
        if stamp == _stamp(source, found):
            return Known(source, read_version(run.spark, uri, version), version)
    return Known(source, found.rows.select(*source.table.columns), None)


def mark_done(run: Run[TransformSettings], known: Known) -> None:
    """Record that this version was acted upon."""
    if known.version is not None:
        run.progress.advance(known.source.progress, version=known.version, run_id=run.id)


def is_new(run: Run[TransformSettings], known: Known) -> bool:
    """Tell whether nobody has acted upon this version yet."""
    return known.version is None or run.progress.read(known.source.progress) != known.version


def describe_change(run: Run[TransformSettings], known: Known, latest: DataFrame) -> dict[str, int]:
    """Count what is new since the version last acted upon, and which curated listens hold what no longer is.

    Those listens stay as they are. Reads one column of the curated table, and only if a key has changed or vanished.

    Args:
        run: The run.
        known: The dimension, at a version that `is_new`.
        latest: The curated listens.

    Returns:
        Keys `added`, `changed` and `removed`, and `curated_listens` of the last two.
    """
    table = known.source.table
    finished = run.progress.read(known.source.progress)
    if finished is None or known.version is None or finished > known.version:
        # Nobody has acted upon it, or it was lost and made anew: there is nothing to compare with.
        return {"added": known.rows.count(), "changed": 0, "removed": 0, "curated_listens": 0}
    then = read_version(run.spark, _uri(run, known.source), finished)
    values = [name for name in table.columns if name not in table.key]
    before, after = (
        rows.select(*table.key, F.struct(*values).alias(name)) for rows, name in ((then, "before"), (known.rows, "now"))
    )
    both = after.join(before, on=list(table.key), how="full_outer")
    kind = (
        F.when(F.col("before").isNull(), "added")
        .when(F.col("now").isNull(), "removed")
        .when(~F.col("now").eqNullSafe(F.col("before")), "changed")
    )
    return _count(both.select(*table.key, kind.alias("kind")).where(F.col("kind").isNotNull()), latest, table)


def _count(changes: DataFrame, latest: DataFrame, table: Table) -> dict[str, int]:
    """Count the changes. Collects one row per kind of change."""
    told = changes.groupBy("kind").agg(F.count("*").alias("keys")).collect()
    counts = {"added": 0, "changed": 0, "removed": 0} | {str(row["kind"]): int(row["keys"]) for row in told}
    stale = changes.where(F.col("kind") != "added").select(*table.key)
    touched = counts["changed"] + counts["removed"]
    held = latest.select(*table.key).join(stale, on=list(table.key), how="left_semi").count() if touched else 0
    return {**counts, "curated_listens": held}


def _stamp(source: Source, found: Dimension) -> dict[str, str]:
    """Name a file's content and the contract by which it is read: a new contract reads an old file again."""
    return {"etag": found.etag, "contract": hashlib.sha256(source.table.ddl.encode()).hexdigest()[:12]}


def _newest(delta: DeltaTable) -> tuple[int, dict[str, str]]:
    """Return the table's version and the stamp of its content, empty when it never had any."""
    [row] = delta.history(1).select("version", "userMetadata").collect()
    metadata: dict[str, Any] = json.loads(row["userMetadata"] or "{}")
    return int(row["version"]), {name: metadata[name] for name in ("etag", "contract") if name in metadata}


def _uri(run: Run[TransformSettings], source: Source) -> str:
    return layout.uri(run.settings.curated_bucket, source.prefix)
