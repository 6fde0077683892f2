"""Partial aggregates of listens: exact, and a sum of parts is the part of the sum.

Plays and milliseconds are added, smallest texts are compared, and the users of a genre and day are bits, which are
united. Bits stand at a user's own number, so nothing has to be assigned or looked up: where users are numbered without
large gaps a block of 512 is one row, and where they are not, a row holds as few as one user and the result is as exact.

Here listens become partials, by Spark; `batch_jobs.partial_sums` adds the partials of a date up.
"""

from __future__ import annotations

from typing import Final

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from batch_jobs.quality import valid_listens
from lakehouse.tables import KPI_PARTIALS, LISTENER_WORDS

PLAYS: Final = "plays"
LISTENERS: Final = "listeners"

_WORD_BITS: Final = 6
_BLOCK_BITS: Final = _WORD_BITS + (len(LISTENER_WORDS) - 1).bit_length()
_GENRE_DAY: Final = ["listen_date", "track_genre"]


def partials_of(listens: DataFrame) -> DataFrame:
    """Reduce listens to partials of two kinds; the third, a date's listens, is counted apart: the balance rests on it.

    Args:
        listens: One row per listen, columns of `CURATED_LISTENS`; those that break a rule are left out.

    Returns:
        Columns of `KPI_PARTIALS`; a track may have many rows. `batch_jobs.partial_sums.united` adds them up.
    """
    valid = valid_listens(listens)
    # Texts and lengths are few for a track: as keys they leave the counting to a hash table; a smallest text does not.
    tracks = valid.groupBy(*_GENRE_DAY, "track_id", "track_name", "artists", "duration_ms").agg(
        F.count("*").alias("plays"), F.expr("count(*) * duration_ms").alias("listening_time_ms")
    )
    users = valid.selectExpr(*_GENRE_DAY, f"user_id >> {_BLOCK_BITS} AS user_block", *map(_word, LISTENER_WORDS))
    listeners = users.groupBy(*_GENRE_DAY, "user_block").agg(
        *[F.expr(f"bit_or({word}) AS {word}") for word in LISTENER_WORDS]
    )
    # Each kind lacks columns that the other has; with the third they have the contract's.
    whole = tracks.withColumn("kind", F.lit(PLAYS)).unionByName(
        listeners.withColumn("kind", F.lit(LISTENERS)), allowMissingColumns=True
    )
    return whole.select(*KPI_PARTIALS.columns)


def _word(name: str) -> str:
    """Render a word of the block of a user, in SQL: their bit if it is theirs, 0 if not."""
    number = f"(user_id >> {_WORD_BITS}) & {len(LISTENER_WORDS) - 1}"
    bit = f"shiftleft(1L, CAST(user_id & {(1 << _WORD_BITS) - 1} AS INT))"
    return f"IF(({number}) = {LISTENER_WORDS.index(name)}, {bit}, 0L) AS {name}"
