"""Where `batch_transform` puts what it can't accept: `bad-records/batch_transform/<path of the source batch>`.

The path is made of the source batch, so a second run over the same batch replaces what the first one wrote; a batch
that has no rejects any more loses the old ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from typing import TYPE_CHECKING

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from batch_jobs.dimensions import Dimension
from batch_jobs.enrichment import ACCEPTED, DUPLICATE, enrichment_rejects
from batch_jobs.objects import S3_CALLS_AT_ONCE, delete_all
from batch_jobs.outcomes import Decided, total_by_outcome
from lakehouse import events, layout, listen_rules
from lakehouse.batches import list_files
from lakehouse.tables import PROCESSED_LISTENS, REJECTED_RECORDS

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

REJECTS_FOLDER = f"{layout.BAD_RECORDS}{layout.TRANSFORM_JOB}/"
_PLACED = ("stream", "shard_id", "sequence_number", "line", "arrived_at")
TO_THE_MICROSECOND = {"timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX"}
"""`listen_time` is part of the key; cut to the millisecond, Spark's default, a replay would be another listen."""


def replace_rejects(s3: S3Client, bucket: str, decision: Decided, batches: Iterable[str]) -> None:
    """Write the rejected deliveries of a run, in place of what earlier runs wrote for these batches.

    The old ones go last: they may be all that is left of their events.
    """

    def written(batch: str) -> list[str]:
        return [file.key for file, _ in list_files(s3, bucket, f"{REJECTS_FOLDER}{batch}")]

    with ThreadPoolExecutor(S3_CALLS_AT_ONCE) as pool:
        old = [key for keys in pool.map(written, batches) for key in keys]
    if total_by_outcome(decision.counts).keys() - {ACCEPTED, DUPLICATE}:
        _append(bucket, decision.outcomes)
    delete_all(s3, bucket, old)


def _append(bucket: str, outcomes: DataFrame) -> None:
    frame = _as_records(outcomes)
    placed = frame.withColumns(
        {
            "generation": F.regexp_extract("source_batch", "generation=([^/]+)/", 1),
            "batch": F.regexp_extract("source_batch", "batch=([^/]+)/", 1),
        }
    )
    placed.repartition(1).write.mode("append").partitionBy("generation", "batch").json(
        layout.uri(bucket, REJECTS_FOLDER)
    )


def replace_malformed_rows(s3: S3Client, bucket: str, name: str, dimension: Dimension) -> None:
    """Write the malformed rows of a dimension file, once per content version of the file."""
    folder = f"{layout.BAD_RECORDS}dimensions/{name}/etag={dimension.etag}/"
    marker = f"{folder}_SUCCESS"
    if any(file.key == marker for file, _ in list_files(s3, bucket, folder)):
        return
    rows = dimension.malformed.select(
        F.lit("malformed_row").alias("reason"),
        F.lit(events.DIMENSION_REASONS["malformed_row"]).alias("message"),
        "payload",
        F.lit(dimension.file).alias("stream"),
    )
    rows.coalesce(1).write.mode("overwrite").json(layout.uri(bucket, folder))


def _as_records(outcomes: DataFrame) -> DataFrame:
    """Render rejected deliveries as bad records. One row per delivery, columns of `REJECTED_RECORDS`."""
    meanings = events.INGEST_REASONS | events.ENRICHMENT_REASONS
    told = reduce(
        lambda chain, reason: chain.when(F.col("outcome") == reason, meanings[reason]),
        list(meanings)[1:],
        F.when(F.col("outcome") == next(iter(meanings)), meanings[next(iter(meanings))]),
    )
    listen = [name for name in PROCESSED_LISTENS.columns if name not in _PLACED]
    return (
        enrichment_rejects(outcomes)
        .select(
            F.col("outcome").alias("reason"),
            told.alias("message"),
            listen_rules.fingerprint(F.col("outcome"), told).alias("fingerprint"),
            F.to_json(F.struct(*listen), TO_THE_MICROSECOND).alias("payload"),
            F.lit(None).cast("string").alias("payload_base64"),
            "event_id",
            *_PLACED,
            F.col("batch").alias("source_batch"),
        )
        .select(*REJECTED_RECORDS.columns)
    )
