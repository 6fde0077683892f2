"""The dimensions as Delta tables: a file is read again only when its content has changed.

Flows in: users.csv and songs.csv, each recognised by its ETag. Flows out: one row per key with the columns that listens
take. What must hold: the commit that holds a file's rows names that file's ETag, so a crash leaves either the old
content under the old name or the new one under the new name. Names of users are not kept (decision 4).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from botocore.exceptions import ClientError
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from batch_jobs.dimensions import Dimension, read_songs, read_users
from batch_jobs.rejects import replace_malformed_rows
from lakehouse import lake_tables, layout
from lakehouse.delta import commit_metadata, read_version
from lakehouse.delta_log import newest_commit, version_of
from lakehouse.jobs import Run
from lakehouse.lake_tables import LakeTable
from lakehouse.settings import TransformSettings
from lakehouse.tables import Table

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """A dimension file and the table that keeps it.

    Attributes:
        name: Its name in reports and folders.
        file: Key of the file in the raw bucket.
        table: The table.
        read: Reads the file.
    """

    name: str
    file: str
    table: LakeTable
    read: Callable[[SparkSession, S3Client, str], Dimension]

    @property
    def progress(self) -> str:
        """Name of the version up to which its changes were acted upon."""
        return self.table.reader


USERS: Final = Source("users", layout.USERS_KEY, lake_tables.USERS, read_users)
SONGS: Final = Source("songs", layout.SONGS_KEY, lake_tables.SONGS, read_songs)


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
    kept, uri = _kept(run, source), source.table.uri(run.settings)
    if kept is None:
        found = source.read(run.spark, run.s3, run.settings.raw_bucket)
        replace_malformed_rows(run.s3, run.settings.raw_bucket, source.name, found)
        rows = found.rows.select(*source.table.contract.columns)
        run.lease.check()
        with commit_metadata(run.spark, job=layout.TRANSFORM_JOB, run_id=run.id, **_stamp(source, found.etag)):
            rows.write.format("delta").mode("overwrite").option("overwriteSchema", "true").save(uri)
        logger.info("dimension read", extra={"dimension": source.name, "etag": found.etag})
        kept = version_of(run.s3, source.table, run.settings)
    return Known(source, read_version(run.spark, uri, kept), kept)


def peek(run: Run[TransformSettings], source: Source) -> Known:
    """Return the dimension as its file is now, and keep nothing.

    Raises:
        DimensionError: The file can't be used.
    """
    kept, uri = _kept(run, source), source.table.uri(run.settings)
    if kept is not None:
        return Known(source, read_version(run.spark, uri, kept), kept)
    found = source.read(run.spark, run.s3, run.settings.raw_bucket)
    return Known(source, found.rows.select(*source.table.contract.columns), None)


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
    table = known.source.table.contract
    finished = run.progress.read(known.source.progress)
    if finished is None or known.version is None or finished > known.version:
        # Nobody has acted upon it, or it was lost and made anew: there is nothing to compare with.
        return {"added": known.rows.count(), "changed": 0, "removed": 0, "curated_listens": 0}
    then = read_version(run.spark, known.source.table.uri(run.settings), finished)
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


def _stamp(source: Source, etag: str) -> dict[str, str]:
    """Name a file's content and the contract by which it is read: a new contract reads an old file again."""
    return {"etag": etag, "contract": hashlib.sha256(source.table.contract.ddl.encode()).hexdigest()[:12]}


def _kept(run: Run[TransformSettings], source: Source) -> int | None:
    """Return the version of the table that holds the file as it is now; None when the file has to be read.

    Costs a request for the file and two for the log, and no Spark: most runs find what they know.
    """
    newest = newest_commit(run.s3, source.table.bucket(run.settings), source.table.prefix)
    if newest is None:
        return None
    try:
        file = run.s3.head_object(Bucket=run.settings.raw_bucket, Key=source.file)
    except ClientError as error:
        if error.response["Error"]["Code"] != "404":
            raise
        return None
    stamp = _stamp(source, file["ETag"].strip('"'))
    return newest.version if stamp.items() <= newest.metadata.items() else None
