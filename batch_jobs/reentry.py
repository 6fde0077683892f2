"""Rejects that come back by themselves: an unknown user or track of earlier, whom the dimensions know by now.

Flows in: the records under `bad-records/batch_transform/` and both dimensions. Flows out: the deliveries of every batch
that has one to let in. Those go the way of new ones, and what is still rejected replaces the batch's old records, so
that each event stays in one place: curated, or set aside.

What must hold: a record comes back only when both its user and its track are known, and then it is unknown no more. So
it comes back once, whatever the files say later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from batch_jobs.rejects import REJECTS_FOLDER, TO_THE_MICROSECOND
from lakehouse import layout
from lakehouse.batches import list_files
from lakehouse.jobs import Run
from lakehouse.settings import TransformSettings
from lakehouse.spark import schema_of
from lakehouse.tables import PROCESSED_LISTENS, REJECTED_RECORDS

UNKNOWN: Final = ("unknown_user", "unknown_track")
_BY_BATCH: Final = f"{REJECTS_FOLDER}generation="
_DELIVERY: Final = f"{PROCESSED_LISTENS.ddl},\nbatch STRING,\nreject_reason STRING"


@dataclass(frozen=True)
class Returning:
    """What comes back.

    Attributes:
        deliveries: Every rejected delivery of `batches`, as `batch_jobs.inputs` reads them: those that come back
            without a reason, the others with theirs.
        batches: Paths of the batches that have one to let in; without any there are no deliveries.
    """

    deliveries: DataFrame
    batches: list[str]

    def count(self) -> int:
        """Return how many deliveries come back."""
        return self.deliveries.where(F.col("reject_reason").isNull()).count()


def find_returning(
    run: Run[TransformSettings], users: DataFrame, songs: DataFrame, *, waiting: Sequence[str]
) -> Returning:
    """Find the rejects whose user and track are known by now.

    Args:
        run: The run.
        users: One row per user_id.
        songs: One row per track_id.
        waiting: Paths of batches that this run reads anyway; their records are about to be replaced.
    """
    bucket = run.settings.raw_bucket
    if not any(True for _ in list_files(run.s3, bucket, _BY_BATCH)):
        return Returning(run.spark.createDataFrame([], _DELIVERY), [])
    rejects = _read_rejects(run, bucket)
    known = rejects.join(users.select("user_id", F.lit(True).alias("user_known")), on="user_id", how="left").join(
        songs.select("track_id", F.lit(True).alias("track_known")), on="track_id", how="left"
    )
    comes_back = F.col("reject_reason").isin(*UNKNOWN) & F.col("user_known") & F.col("track_known")
    told = known.withColumn("reject_reason", F.when(~F.coalesce(comes_back, F.lit(False)), F.col("reject_reason")))
    found = told.where(F.col("reject_reason").isNull()).select("batch").distinct()
    # One row per batch that has something to let in.
    batches = sorted({str(row["batch"]) for row in found.collect()} - set(waiting))
    chosen = run.spark.createDataFrame([(batch,) for batch in batches], "batch STRING")
    columns = (*PROCESSED_LISTENS.columns, "batch", "reject_reason")
    return Returning(told.join(F.broadcast(chosen), on="batch", how="left_semi").select(*columns), batches)


def _read_rejects(run: Run[TransformSettings], bucket: str) -> DataFrame:
    """Read what earlier runs rejected. One row per (batch, position): columns of `PROCESSED_LISTENS`, batch, reason."""
    schema = schema_of(REJECTED_RECORDS)
    # A folder is named, not each file: there may be thousands.
    found = run.spark.read.schema(schema).option("recursiveFileLookup", "true")
    records = found.json(f"{layout.uri(bucket, _BY_BATCH)}*")
    placed = ("stream", "shard_id", "sequence_number", "line", "arrived_at")
    contract = schema_of(PROCESSED_LISTENS)
    listen = T.StructType([field for field in contract.fields if field.name not in placed])
    # A crash may have left a record twice: as it was, and as it was written anew.
    once = records.dropDuplicates(["source_batch", *REJECTED_RECORDS.key])
    return once.withColumn("listen", F.from_json("payload", listen, TO_THE_MICROSECOND)).select(
        *[(F.col(name) if name in placed else F.col(f"listen.{name}")).alias(name) for name in contract.names],
        F.col("source_batch").alias("batch"),
        F.col("reason").alias("reject_reason"),
    )
