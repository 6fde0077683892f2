"""Join listens with their user and song, and decide what becomes of each: pure, frames in, frames out.

Every delivery gets exactly one outcome: `accepted`, `duplicate`, or a reason to reject it. Unknown users and tracks
are told apart before duplicates are, so that the outcome does not depend on how deliveries fall into runs.
"""

from __future__ import annotations

from typing import Final

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from lakehouse.tables import CURATED_LISTENS, KNOWN_SONGS, KNOWN_USERS

ACCEPTED: Final = "accepted"
DUPLICATE: Final = "duplicate"


def with_dimensions(listens: DataFrame, *, users: DataFrame, songs: DataFrame) -> DataFrame:
    """Add user and song columns, `listen_date`, and the reason `unknown_user` or `unknown_track`.

    Args:
        listens: One row per delivery, with `reject_reason`.
        users: One row per user_id, columns of `KNOWN_USERS`.
        songs: One row per track_id, columns of `KNOWN_SONGS`.

    Returns:
        One row per delivery.
    """
    known_users = users.select(*KNOWN_USERS.columns, F.lit(True).alias("user_known"))
    known_songs = songs.select(*KNOWN_SONGS.columns, F.lit(True).alias("track_known"))
    joined = (
        listens.join(known_users, on="user_id", how="left")
        .join(known_songs, on="track_id", how="left")
        .withColumn("listen_date", F.to_date("listen_time"))
    )
    reason = (
        F.when(F.col("reject_reason").isNotNull(), F.col("reject_reason"))
        .when(F.col("user_known").isNull(), "unknown_user")
        .when(F.col("track_known").isNull(), "unknown_track")
    )
    return joined.withColumn("reject_reason", reason).drop("user_known", "track_known")


def with_outcome(enriched: DataFrame, *, existing: DataFrame) -> DataFrame:
    """Add `outcome`: the first delivery of a listen is accepted, identical ones are duplicates, others conflict.

    Args:
        enriched: Output of `with_dimensions`.
        existing: Listens merged by earlier runs, one row per (listen_date, listen_time, event_id), of at least the
            dates of `enriched`; they come before anything of this run.

    Returns:
        One row per delivery.
    """
    merged = existing.select(
        "listen_date",
        "listen_time",
        "event_id",
        F.col("user_id").alias("merged_user_id"),
        F.col("track_id").alias("merged_track_id"),
    )
    rejected = F.col("reject_reason").isNotNull()
    deliveries = Window.partitionBy(rejected, "listen_time", "event_id").orderBy(
        # A sequence number is a decimal numeral: of two, the longer is the later.
        "arrived_at",
        F.length("sequence_number"),
        "sequence_number",
        "shard_id",
        "line",
        "batch",
    )
    keys = ["listen_date", "listen_time", "event_id"]
    ranked = enriched.join(merged, on=keys, how="left").withColumns(
        {
            "delivery": F.row_number().over(deliveries),
            "first_user_id": F.coalesce("merged_user_id", F.first("user_id").over(deliveries)),
            "first_track_id": F.coalesce("merged_track_id", F.first("track_id").over(deliveries)),
        }
    )
    same = (F.col("user_id") == F.col("first_user_id")) & (F.col("track_id") == F.col("first_track_id"))
    outcome = (
        F.when(rejected, F.col("reject_reason"))
        .when(~same, "conflicting_duplicate")
        .when((F.col("delivery") > 1) | F.col("merged_user_id").isNotNull(), DUPLICATE)
        .otherwise(ACCEPTED)
    )
    return ranked.withColumn("outcome", outcome).drop(
        "delivery", "first_user_id", "first_track_id", "merged_user_id", "merged_track_id"
    )


def curated_listens(outcomes: DataFrame) -> DataFrame:
    """Return the accepted listens. One row per listen, columns of `CURATED_LISTENS`."""
    return outcomes.where(F.col("outcome") == ACCEPTED).select(*CURATED_LISTENS.columns)


def enrichment_rejects(outcomes: DataFrame) -> DataFrame:
    """Return the deliveries that have no place in the curated table. One row per rejected delivery."""
    return outcomes.where(~F.col("outcome").isin(ACCEPTED, DUPLICATE))
