"""What a run of `batch_transform` reads: exactly the files that manifests name, and files put by hand.

All come out in one frame with the columns of `PROCESSED_LISTENS`, the path of their batch, and a reason where a row
put by hand breaks a rule that the streaming job would have caught.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import reduce
from typing import TYPE_CHECKING, Final

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakehouse import events, layout, listen_rules
from lakehouse.batches import BY_HAND, BatchFile, Manifest
from lakehouse.spark import schema_of
from lakehouse.tables import PROCESSED_LISTENS

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

logger = logging.getLogger(__name__)

_MAGIC: Final = b"PAR1"
_FIRST_LINE: Final = 1
"""Of a row that stands for itself: put by hand, or written before a record could hold several events."""
_PATH: Final = f"{layout.PROCESSED}(generation=[^/]+/batch=[^/]+/)"


def read_micro_batches(spark: SparkSession, bucket: str, manifests: Sequence[Manifest]) -> DataFrame:
    """Read the listens of committed micro-batches.

    Returns:
        One row per accepted delivery: the columns of `PROCESSED_LISTENS`, `batch` and a null `reject_reason`.
    """
    files = [layout.uri(bucket, file.key) for manifest in manifests for file in manifest.files]
    schema = schema_of(PROCESSED_LISTENS)
    frame = spark.read.schema(schema).parquet(*files) if files else spark.createDataFrame([], schema)
    path = F.col("_metadata.file_path") if files else F.lit("")
    columns: dict[str, Column] = {name: F.col(name) for name in PROCESSED_LISTENS.columns}
    columns["line"] = F.coalesce("line", F.lit(_FIRST_LINE)).alias("line")
    return frame.select(
        *columns.values(),
        F.regexp_extract(path, _PATH, 1).alias("batch"),
        F.lit(None).cast("string").alias("reject_reason"),
    )


def read_by_hand(spark: SparkSession, s3: S3Client, bucket: str, manifest: Manifest) -> DataFrame | None:
    """Read one parquet file that somebody put under `processed-streams/`.

    Returns:
        One row per row of the file, columns as `read_micro_batches`; None when it is no parquet file or lacks a
        required column, in which case the whole file is the bad record.
    """
    if manifest.id.generation != BY_HAND:
        raise ValueError(f"{manifest.id} was not put by hand")
    [file] = manifest.files
    if not _is_parquet(s3, bucket, file):
        logger.warning("file is no parquet", extra={"file": file.key})
        return None
    found = spark.read.parquet(layout.uri(bucket, file.key))
    if missing := [name for name in events.REQUIRED_FIELDS if name not in found.columns]:
        logger.warning("file lacks columns", extra={"file": file.key, "missing": missing})
        return None
    types = {field.name: field.dataType for field in found.schema.fields}
    contract = {field.name: field.dataType for field in schema_of(PROCESSED_LISTENS).fields}
    placed = {
        "stream": F.lit(file.key),
        "shard_id": F.lit(file.etag),
        "sequence_number": F.col("_metadata.row_index").cast("string"),
        "line": F.lit(_FIRST_LINE),
        "arrived_at": F.lit(manifest.committed_at.isoformat()).cast("timestamp"),
    }
    typed = found.select(
        *[
            (placed[name] if name in placed else _typed(name, types.get(name), kind)).alias(name)
            for name, kind in contract.items()
        ],
        F.lit(manifest.id.path).alias("batch"),
    )
    with_id = typed.withColumn("event_id", listen_rules.event_id(F.col("event_id")))
    return with_id.select(*PROCESSED_LISTENS.columns, "batch", _reason().alias("reject_reason"))


def union(frames: Sequence[DataFrame]) -> DataFrame:
    """Return the rows of all frames."""
    return reduce(DataFrame.unionByName, frames)


def _is_parquet(s3: S3Client, bucket: str, file: BatchFile) -> bool:
    """Look at both ends: a parquet file begins and ends with its magic number."""
    if file.size < 3 * len(_MAGIC):
        return False
    ends = (f"bytes=0-{len(_MAGIC) - 1}", f"bytes=-{len(_MAGIC)}")
    return all(s3.get_object(Bucket=bucket, Key=file.key, Range=end)["Body"].read() == _MAGIC for end in ends)


def _typed(name: str, found: T.DataType | None, wanted: T.DataType) -> Column:
    if found is None:
        return F.lit(None).cast(wanted)
    if isinstance(wanted, T.TimestampType) and isinstance(found, T.StringType):
        return listen_rules.listen_time(F.col(name))
    if isinstance(wanted, T.MapType) and found != wanted:
        return F.lit(None).cast(wanted)
    return F.col(name).try_cast(wanted)


def _reason() -> Column:
    absent = reduce(lambda one, other: one | other, [F.col(name).isNull() for name in events.REQUIRED_FIELDS])
    return (
        F.when(absent, "missing_field")
        .when(listen_rules.invalid_value(F.col("track_id"), F.col("event_id")), "invalid_value")
        .when(listen_rules.impossible_time(F.col("listen_time"), F.col("arrived_at")), "impossible_time")
    )
