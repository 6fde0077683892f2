"""The KPIs: pure, partials in, plain rows out; exact, never approximate, and the same bits for the same listens."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batch_jobs.partial_sums import plays, starts_of, unique_listeners
from lakehouse.delta_rows import Row
from lakehouse.lake_tables import DATE

SONGS_IN_CHART: Final = 3

_SONG: Final = ("track_id", "track_name", "artists", "plays")


def daily_genre_kpis(partials: pa.Table) -> list[Row]:
    """Derive the KPIs of one date, from integers only.

    Args:
        partials: Partials of the whole date, since listeners are distinct over the day; each key once.

    Returns:
        One row per track_genre, in order: the value columns of `DAILY_GENRE_KPIS`.
    """
    order = [("track_genre", "ascending"), ("plays", "descending"), ("track_id", "ascending")]
    ranked = plays(partials).sort_by(order)
    genres = ranked["track_genre"].combine_chunks().dictionary_encode().indices.to_numpy()
    first = starts_of(genres)
    sizes = np.diff(np.append(first, len(genres)))
    listeners = unique_listeners(partials)
    rows = []
    for start, size in zip(first.tolist(), sizes.tolist(), strict=True):
        of_genre = ranked.slice(start, size)
        genre = of_genre["track_genre"][0].as_py()
        if genre not in listeners:
            # Not whole: the balance of the date will not add up.
            continue
        total = pc.sum(of_genre["listening_time_ms"]).as_py()
        rows.append(
            {
                DATE: of_genre[DATE][0].as_py(),
                "track_genre": genre,
                "listen_count": pc.sum(of_genre["plays"]).as_py(),
                "unique_listeners": listeners[genre],
                "total_listening_time_ms": total,
                "avg_listening_time_per_user_ms": half_even_quotient(total, listeners[genre]),
                "top_songs": [
                    {"rank": rank, **song}
                    for rank, song in enumerate(of_genre.slice(0, SONGS_IN_CHART).select(_SONG).to_pylist(), 1)
                ],
            }
        )
    return rows


def half_even_quotient(total: int, parts: int) -> Decimal:
    """Divide two positive integers to two decimals, ties to the even hundredth, in integers.

    A decimal division would round twice, first to its own precision, and could turn a near-tie into a tie.
    """
    floor, rest = divmod(total * 100, parts)
    is_up = rest * 2 > parts or (rest * 2 == parts and floor % 2 == 1)
    return Decimal(floor + is_up).scaleb(-2)
