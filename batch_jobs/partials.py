"""Partial aggregates of listens: pure, frames in, frames out; exact, and a sum of parts is the part of the sum.

Plays and milliseconds are added, smallest texts are compared, and the users of a genre and day are bits, which are
united. Bits stand at a user's own number, so nothing has to be assigned or looked up: where users are numbered without
large gaps a block of 512 is one row, and where they are not, a row holds as few as one user and the result is as exact.
"""

from __future__ import annotations

from functools import reduce
from typing import Final

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from batch_jobs.quality import VALID, valid_listens
from lakehouse.tables import KPI_PARTIALS

DAY: Final = "day"
PLAYS: Final = "plays"
LISTENERS: Final = "listeners"

WORDS: Final = tuple(name for name in KPI_PARTIALS.columns if name.startswith("users_"))
_WORD_BITS: Final = 6
_BLOCK_BITS: Final = _WORD_BITS + (len(WORDS) - 1).bit_length()
_GENRE_DAY: Final = ["listen_date", "track_genre"]


def parts_of(listens: DataFrame, counted: DataFrame) -> DataFrame:
    """Turn listens into what `united` makes partials of, alone or together with other partials.

    Args:
        listens: One row per listen, columns of `CURATED_LISTENS`; those that break a rule are left out.
        counted: The same listens counted on their own: output of `quality.count_by_date`. The balance rests on it.

    Returns:
        Columns of `KPI_PARTIALS`; a key may have many rows.
    """
    valid = valid_listens(listens)
    days = counted.where(F.col(VALID) > 0).select("listen_date", F.col(VALID).alias("plays"))
    # Texts and lengths are few for a track: as keys they leave the counting to a hash table; a smallest text does not.
    alike = valid.groupBy(*_GENRE_DAY, "track_id", "track_name", "artists", "duration_ms").agg(
        F.count("*").alias("plays")
    )
    number = F.shiftright("user_id", _WORD_BITS).bitwiseAND(len(WORDS) - 1)
    bit = F.expr(f"shiftleft(1L, CAST(user_id & {(1 << _WORD_BITS) - 1} AS INT))")
    users = valid.select(
        *_GENRE_DAY,
        F.shiftright("user_id", _BLOCK_BITS).alias("user_block"),
        *[F.when(number == place, bit).otherwise(0).alias(word) for place, word in enumerate(WORDS)],
    )
    return _as_kinds(days, alike.withColumn("listening_time_ms", F.col("plays") * F.col("duration_ms")), users)


def united(parts: DataFrame) -> DataFrame:
    """Add partials, or parts, of separate listens up.

    Returns:
        One row per (listen_date, kind, track_genre, track_id, user_block): columns of `KPI_PARTIALS`.
    """
    days = _of(parts, DAY).groupBy("listen_date").agg(F.sum("plays").alias("plays"))
    tracks = _of(parts, PLAYS).groupBy(*_GENRE_DAY, "track_id")
    users = _of(parts, LISTENERS).groupBy(*_GENRE_DAY, "user_block")
    return _as_kinds(
        days,
        tracks.agg(
            F.min("track_name").alias("track_name"),
            F.min("artists").alias("artists"),
            F.sum("plays").alias("plays"),
            F.sum("listening_time_ms").alias("listening_time_ms"),
        ),
        users.agg(*[F.bit_or(word).alias(word) for word in WORDS]),
    )


def plays(partials: DataFrame) -> DataFrame:
    """Return plays by track. One row per (listen_date, track_genre, track_id)."""
    return _of(partials, PLAYS).select(*_GENRE_DAY, "track_id", "track_name", "artists", "plays", "listening_time_ms")


def unique_listeners(partials: DataFrame) -> DataFrame:
    """Count the distinct users. One row per (listen_date, track_genre)."""
    bits = reduce(lambda one, other: one + other, [F.bit_count(F.col(word)) for word in WORDS])
    return _of(partials, LISTENERS).groupBy(*_GENRE_DAY).agg(F.sum(bits).alias("unique_listeners"))


def valid_by_date(partials: DataFrame) -> DataFrame:
    """Return the valid listens, as counted apart from the plays. One row per listen_date."""
    return _of(partials, DAY).select("listen_date", F.col("plays").alias("listens"))


def count_differences(some: DataFrame, others: DataFrame) -> int:
    """Count the rows that only one of two sets of partials has, nulls being equal.

    Rows are told by hashes of 64 bits, and two sets that have as many rows and the same sums of hashes are one set.
    """
    one, other = _hashed(some), _hashed(others)
    if _fingerprint(one) == _fingerprint(other):
        return 0
    signed = one.withColumn("side", F.lit(1)).unionByName(other.withColumn("side", F.lit(-1)))
    return signed.groupBy("row").agg(F.sum("side").alias("side")).where(F.col("side") != 0).count()


def _hashed(partials: DataFrame) -> DataFrame:
    # The hash passes over nulls: which column has one is hashed as well.
    nulls = [F.col(name).isNull() for name in KPI_PARTIALS.columns]
    return partials.select(F.xxhash64(*KPI_PARTIALS.columns, *nulls).alias("row"))


def _fingerprint(hashed: DataFrame) -> Row | None:
    # By halves, since a sum of whole hashes has more bits than a number.
    halves = [F.shiftright("row", 32), F.col("row").bitwiseAND((1 << 32) - 1)]
    return hashed.agg(F.count("*"), *map(F.sum, halves)).first()


def _of(partials: DataFrame, kind: str) -> DataFrame:
    return partials.where(F.col("kind") == kind)


def _as_kinds(days: DataFrame, tracks: DataFrame, users: DataFrame) -> DataFrame:
    kinds = [
        frame.withColumn("kind", F.lit(kind)) for kind, frame in ((DAY, days), (PLAYS, tracks), (LISTENERS, users))
    ]
    # Each kind lacks columns that another has; all together have the contract's.
    whole = reduce(lambda one, other: one.unionByName(other, allowMissingColumns=True), kinds)
    return whole.select(*KPI_PARTIALS.columns)
