"""The demo's verdict: equal only if every value and every reject is."""

from __future__ import annotations

import copy
from decimal import Decimal
from typing import Any

import pytest

from listenlake.comparison import Comparison, Reject, compare
from listenlake.served import ServedKpis

SONG = {"rank": 1, "track_id": "t1", "track_name": "Señor", "artists": "A;B", "plays": 2}
GENRE = {
    "listen_date": "2024-06-25",
    "track_genre": "pop",
    "listen_count": 3,
    "unique_listeners": 2,
    "total_listening_time_ms": 3001,
    "avg_listening_time_per_user_ms": "1500.50",
    "top_songs": [SONG],
}
CHART = {"listen_date": "2024-06-25", "top_genres": [{"rank": 1, "track_genre": "pop", "listen_count": 3}]}
REJECT = ("unknown_user", "shardId-0", "42", 3)


def as_served(value: Any) -> Any:
    """Spell a value as DynamoDB gives it back."""
    if isinstance(value, dict):
        return {
            name: Decimal(entry) if name.startswith("avg") else as_served(entry) for name, entry in value.items()
        } | ({"source_version": Decimal(4), "run_id": "r"} if "listen_date" in value else {})
    if isinstance(value, list):
        return [as_served(entry) for entry in value]
    return Decimal(value) if isinstance(value, int) else value


def judge(served: ServedKpis, found: list[Reject]) -> Comparison:
    return compare(served, genres=[GENRE], top_genres=[CHART], rejects=[REJECT], found_rejects=found)


def served() -> ServedKpis:
    return ServedKpis(genres=[as_served(GENRE)], charts=[as_served(CHART)])


def test_what_equals_the_truth_is_equal() -> None:
    verdict = judge(served(), [REJECT])
    assert verdict.is_equal
    assert verdict.verdict() == "2 of 2 served items equal the truth; 1 of 1 rejects accounted for"
    assert verdict.found_by_reason == {"unknown_user": 1}


@pytest.mark.parametrize("name", ["listen_count", "unique_listeners", "total_listening_time_ms"])
def test_any_number_that_differs_is_found(name: str) -> None:
    wrong = served()
    wrong.genres[0][name] += 1
    verdict = judge(wrong, [REJECT])
    assert not verdict.is_equal
    assert verdict.verdict().startswith("1 of 2 served items")


def test_a_hundredth_and_a_chart_entry_count() -> None:
    hundredth, entry = served(), copy.deepcopy(served())
    hundredth.genres[0]["avg_listening_time_per_user_ms"] += Decimal("0.01")
    entry.genres[0]["top_songs"][0]["plays"] += 1
    assert judge(hundredth, [REJECT]).items_different == judge(entry, [REJECT]).items_different == 1


def test_missing_and_unexpected_items_differ() -> None:
    assert judge(ServedKpis(genres=[], charts=[as_served(CHART)]), [REJECT]).items_different == 1
    more = served()
    more.genres.append({**as_served(GENRE), "track_genre": "rock"})
    verdict = judge(more, [REJECT])
    assert (verdict.items_compared, verdict.items_different) == (3, 1)


@pytest.mark.parametrize(
    ("found", "counted", "unexpected"),
    [
        ([], 0, 0),
        ([REJECT, REJECT], 1, 1),
        ([("unknown_track", *REJECT[1:])], 0, 1),
        ([(*REJECT[:3], 2)], 0, 1),
        ([REJECT, (*REJECT[:3], 2)], 1, 1),
    ],
)
def test_rejects_are_counted_by_reason_and_place(found: list[Reject], counted: int, unexpected: int) -> None:
    verdict = judge(served(), found)
    assert (verdict.rejects_found, verdict.rejects_unexpected, verdict.is_equal) == (counted, unexpected, False)
    missing = "reject expected and not found: unknown_user shardId-0 42 line 3"
    assert (missing in verdict.differences) == (counted == 0)


def test_nothing_served_and_nothing_expected_is_no_success() -> None:
    empty = compare(ServedKpis([], []), genres=[], top_genres=[], rejects=[], found_rejects=[])
    assert not empty.is_equal
