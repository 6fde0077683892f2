"""KPI rows against those that are presented: what differs, what stays as it was, and what does not add up."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from batch_jobs.presentation import check_balance, compared, top_genres
from lakehouse.errors import BalanceError
from lakehouse.tables import DAILY_GENRE_KPIS, DAILY_TOP_GENRES

DAY, NEXT = date(2024, 6, 25), date(2024, 6, 26)
OLD = {"curated_version": 3, "run_id": "first", "computed_at": datetime(2024, 6, 26, tzinfo=UTC)}
NEW = {"curated_version": 4, "run_id": "second", "computed_at": datetime(2024, 6, 27, tzinfo=UTC)}


def genre(name: str, listens: int = 5, *, day: date = DAY, **others: Any) -> dict[str, Any]:
    song = {"rank": 1, "track_id": "t", "track_name": "T", "artists": None, "plays": listens}
    return {
        "listen_date": day,
        "track_genre": name,
        "listen_count": listens,
        "unique_listeners": 2,
        "total_listening_time_ms": 10,
        "avg_listening_time_per_user_ms": Decimal("5.00"),
        "top_songs": [song],
        **others,
    }


def test_rows_that_do_not_differ_keep_their_provenance() -> None:
    held = [genre("rock") | OLD, genre("pop") | OLD]
    rows, differing = compared(held, [genre("rock"), genre("pop", 6)], DAILY_GENRE_KPIS, NEW)
    assert (rows, differing) == ([genre("pop", 6) | NEW, genre("rock") | OLD], 1)


def test_a_new_row_and_one_that_is_gone_are_counted() -> None:
    rows, differing = compared([genre("rock") | OLD], [genre("jazz")], DAILY_GENRE_KPIS, NEW)
    assert (rows, differing) == ([genre("jazz") | NEW], 2)
    assert compared([genre("rock") | OLD], [], DAILY_GENRE_KPIS, NEW) == ([], 1)
    assert compared([], [], DAILY_GENRE_KPIS, NEW) == ([], 0)


@pytest.mark.parametrize(
    "other",
    [
        {"unique_listeners": 3},
        {"avg_listening_time_per_user_ms": Decimal("5.01")},
        {"top_songs": [{"rank": 1, "track_id": "t", "track_name": "T", "artists": "", "plays": 5}]},
        {"top_songs": []},
        {"total_listening_time_ms": None},
    ],
)
def test_each_value_counts(other: dict[str, Any]) -> None:
    wanted = [genre("rock", **other)]
    assert compared([genre("rock") | OLD], wanted, DAILY_GENRE_KPIS, NEW) == ([wanted[0] | NEW], 1)


def test_a_chart_is_of_five_genres_by_listens_and_then_by_name() -> None:
    names = ["é", "z", "b", "a", "Z", "c", "few"]
    kpis = [genre(name, 1 if name == "few" else 9) for name in names]
    chart = ["Z", "a", "b", "c", "z"]
    expected = [{"rank": rank, "track_genre": name, "listen_count": 9} for rank, name in enumerate(chart, 1)]
    assert top_genres(kpis) == [{"listen_date": DAY, "top_genres": expected}]
    assert top_genres([]) == []
    held = [{"listen_date": DAY, "top_genres": expected, **OLD}]
    assert compared(held, top_genres(kpis), DAILY_TOP_GENRES, NEW) == (held, 0)


def test_listens_and_genres_that_do_not_add_up_are_told() -> None:
    kpis = [genre("rock", 6), genre("pop", 4)]
    check_balance(DAY, 10, kpis)
    check_balance(DAY, 0, [])
    with pytest.raises(BalanceError, match="expected 9 listens of 2024-06-25 over all genres; found 10"):
        check_balance(DAY, 9, kpis)
    with pytest.raises(BalanceError, match="expected 1 listens of 2024-06-26 over all genres; found 0"):
        check_balance(NEXT, 1, [])
