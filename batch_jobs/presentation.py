"""KPI rows against those that a presentation table holds: pure, plain rows in, plain rows out.

A date has a row per genre, however many listens it has: so few that the driver compares them faster than Spark plans.
"""

from __future__ import annotations

from datetime import date
from typing import Any, Final

from lakehouse.delta_rows import Row
from lakehouse.errors import BalanceError
from lakehouse.tables import PROVENANCE_COLUMNS, Table

GENRES_IN_CHART: Final = 5


def top_genres(genre_kpis: list[Row]) -> list[Row]:
    """Rank the genres of one date.

    Args:
        genre_kpis: The value columns of `DAILY_GENRE_KPIS`. One row per genre.

    Returns:
        One row, the value columns of `DAILY_TOP_GENRES`; none for a date without listens.
    """
    ranked = sorted(genre_kpis, key=lambda row: (-row["listen_count"], row["track_genre"]))[:GENRES_IN_CHART]
    chart = [
        {"rank": rank, "track_genre": row["track_genre"], "listen_count": row["listen_count"]}
        for rank, row in enumerate(ranked, 1)
    ]
    return [{"listen_date": genre_kpis[0]["listen_date"], "top_genres": chart}] if chart else []


def compared(current: list[Row], wanted: list[Row], table: Table, provenance: Row) -> tuple[list[Row], int]:
    """Compare the rows of one date.

    Args:
        current: What the table holds. One row per key.
        wanted: What it shall hold, without provenance. One row per key.
        table: Their contract.
        provenance: The columns of `PROVENANCE_COLUMNS` for rows that differ.

    Returns:
        What it shall hold, as it is where the KPIs are the same, by key; and how many rows differ, vanished ones too.
    """
    now, then = _by_key(current, table), _by_key(wanted, table)
    differing = {key for key in now.keys() | then.keys() if _values(now.get(key)) != _values(then.get(key))}
    rows = [{**then[key], **provenance} if key in differing else now[key] for key in sorted(then)]
    return rows, len(differing)


def check_balance(day: date, listens: int, genre_kpis: list[Row]) -> None:
    """Compare the valid listens of a date as they were counted on their own with the sum over genres.

    Args:
        day: The listen date.
        listens: Its valid listens.
        genre_kpis: One row per track_genre, `listen_count` among its columns.

    Raises:
        BalanceError: There are more or fewer of one than of the other.
    """
    in_genres = sum(row["listen_count"] for row in genre_kpis)
    if listens != in_genres:
        raise BalanceError(
            expected=f"{listens} listens of {day} over all genres",
            found=str(in_genres),
            do="Nothing was published. `listenlake kpis run --mode recompute --repair` computes from the listens.",
        )


def _by_key(rows: list[Row], table: Table) -> dict[tuple[Any, ...], Row]:
    return {tuple(row[name] for name in table.key): row for row in rows}


def _values(row: Row | None) -> Row | None:
    return None if row is None else {name: value for name, value in row.items() if name not in PROVENANCE_COLUMNS}
