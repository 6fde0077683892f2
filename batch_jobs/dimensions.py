"""The users and songs dimensions: read by contract, one row per key, malformed rows set aside with their reason.

Spark's defaults misread RFC 4180 (its escape character is a backslash), so quote and escape are set, the schema is
explicit in the file's own column order, and a row that does not fit lands in the corrupt-record column.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakehouse import layout
from lakehouse.errors import ListenlakeError
from lakehouse.spark import schema_of
from lakehouse.tables import SONGS, SONGS_REQUIRED, USERS, USERS_REQUIRED, Table

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_CORRUPT: Final = "_corrupt"
_HEADER_BYTES: Final = 64 * 1024


class DimensionError(ListenlakeError):
    """A dimension file can't be used; nothing was written."""


@dataclass(frozen=True)
class Dimension:
    """One dimension, ready to join.

    Attributes:
        rows: One row per key, columns of the table's contract.
        malformed: One row per line that does not fit: column `payload`, the line as it is.
        file: Address of the file it comes from.
        etag: Its content version.
    """

    rows: DataFrame
    malformed: DataFrame
    file: str
    etag: str


def read_users(spark: SparkSession, s3: S3Client, bucket: str) -> Dimension:
    """Read users.csv. One row per user_id: of a repeated id, the first by name."""
    read = _read(spark, s3, bucket, layout.USERS_KEY, table=USERS, required=USERS_REQUIRED)
    return _one_row_per(read, key="user_id", order=[F.col("user_name"), F.col("user_age"), F.col("user_country")])


def read_songs(spark: SparkSession, s3: S3Client, bucket: str) -> Dimension:
    """Read songs.csv. One row per track_id: the parent data repeats a track for each genre, the lowest id stays."""
    read = _read(spark, s3, bucket, layout.SONGS_KEY, table=SONGS, required=SONGS_REQUIRED)
    order = [F.col("id").asc_nulls_last(), F.col("track_genre").asc_nulls_last(), F.col("track_name").asc_nulls_last()]
    return _one_row_per(read, key="track_id", order=order)


def _read(
    spark: SparkSession, s3: S3Client, bucket: str, key: str, *, table: Table, required: tuple[str, ...]
) -> Dimension:
    address = layout.uri(bucket, key)
    header, etag = _read_header(s3, bucket, key, required=required)
    contract = {field.name: field for field in schema_of(table).fields}
    schema = T.StructType([contract.get(name, T.StructField(name, T.StringType())) for name in header])
    frame = (
        spark.read.schema(schema.add(_CORRUPT, T.StringType()))
        .options(header=True, quote='"', escape='"', multiLine=True, mode="PERMISSIVE", encoding="UTF-8")
        .option("columnNameOfCorruptRecord", _CORRUPT)
        .csv(address)
    )
    keyed = F.col(table.key[0]).isNotNull() & (F.trim(F.col(table.key[0]).cast("string")) != "")
    fits = F.col(_CORRUPT).isNull() & F.coalesce(keyed, F.lit(False))
    columns = [
        F.col(name) if name in header else F.lit(None).cast(contract[name].dataType).alias(name)
        for name in table.columns
    ]
    as_line = F.coalesce(F.col(_CORRUPT), F.to_csv(F.struct(*header)))
    return Dimension(
        rows=frame.where(fits).select(*columns),
        malformed=frame.where(~fits).select(as_line.alias("payload")),
        file=address,
        etag=etag,
    )


def _read_header(s3: S3Client, bucket: str, key: str, *, required: tuple[str, ...]) -> tuple[list[str], str]:
    """Return the file's column names and its ETag.

    Raises:
        DimensionError: The file is not there, is empty, or lacks a required column.
    """
    address = layout.uri(bucket, key)
    wanted = f"{address} with columns {', '.join(required)}"
    put_it = f"Put a CSV file (RFC 4180, UTF-8, with a header line) at {address} and start the job again."
    try:
        answer: Any = s3.get_object(Bucket=bucket, Key=key, Range=f"bytes=0-{_HEADER_BYTES - 1}")
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in {"NoSuchKey", "404"}:
            raise DimensionError(expected=wanted, found="no such file", do=put_it) from None
        if code == "InvalidRange":
            raise DimensionError(expected=wanted, found="an empty file", do=put_it) from None
        raise
    head: bytes = answer["Body"].read()
    header = next(csv.reader(io.StringIO(head.decode("utf-8-sig", errors="replace"), newline="")), [])
    if not header:
        raise DimensionError(expected=wanted, found="an empty file", do=put_it)
    missing = [name for name in required if name not in header]
    if missing:
        raise DimensionError(
            expected=wanted, found=f"columns {', '.join(header)}: {', '.join(missing)} missing", do=put_it
        )
    if len(set(header)) < len(header):
        raise DimensionError(expected=wanted, found=f"a column twice in {', '.join(header)}", do=put_it)
    if b"\n" not in head.rstrip(b"\r\n"):
        raise DimensionError(expected=wanted, found="a header and no rows", do=put_it)
    return header, answer["ETag"].strip('"')


def _one_row_per(dimension: Dimension, *, key: str, order: list[Any]) -> Dimension:
    first = Window.partitionBy(key).orderBy(*order)
    rows = dimension.rows.withColumn("rank", F.row_number().over(first)).where(F.col("rank") == 1).drop("rank")
    return Dimension(rows=rows, malformed=dimension.malformed, file=dimension.file, etag=dimension.etag)
