"""What a presentation table's change feed comes to, and how its rows become items."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from batch_jobs.items import as_changes, latest_changes, to_items
from lakehouse.delta_rows import Change
from lakehouse.tables import DAILY_GENRE_KPIS

DAY = date(2024, 6, 25)


def row(genre: str, listens: int) -> dict[str, Any]:
    absent: dict[str, Any] = dict.fromkeys(DAILY_GENRE_KPIS.columns)
    return absent | {"listen_date": DAY, "track_genre": genre, "listen_count": listens}


def change(kind: str, version: int, listens: int, genre: str = "rock") -> Change:
    return Change(row(genre, listens), kind, version)


@pytest.mark.parametrize(
    ("feed", "newest"),
    [
        ([], []),
        ([change("insert", 1, 5)], [change("insert", 1, 5)]),
        ([change("delete", 1, 5)], [change("delete", 1, 5)]),
        ([change("delete", 1, 5), change("insert", 1, 6)], [change("insert", 1, 6)]),
        ([change("insert", 1, 6), change("delete", 1, 5)], [change("insert", 1, 6)]),
        ([change("delete", 1, 5), change("insert", 1, 5)], []),
        ([change("insert", 1, 5), change("delete", 2, 5), change("insert", 2, 5)], [change("insert", 1, 5)]),
        ([change("insert", 1, 5), change("delete", 2, 5)], [change("delete", 2, 5)]),
        ([change("update_preimage", 3, 5), change("update_postimage", 3, 6)], [change("insert", 3, 6)]),
        (
            [change("insert", 1, 5), change("insert", 1, 5, "pop"), change("delete", 2, 5, "pop")],
            [change("insert", 1, 5), change("delete", 2, 5, "pop")],
        ),
    ],
)
def test_of_a_feed_the_newest_change_of_each_key_counts(feed: list[Change], newest: list[Change]) -> None:
    assert latest_changes(feed, DAILY_GENRE_KPIS) == newest


def test_a_row_becomes_an_item_of_plain_values() -> None:
    song = {"rank": 1, "track_id": "t", "track_name": "T", "artists": None, "plays": 5}
    values = row("rock", 5) | {
        "avg_listening_time_per_user_ms": Decimal("5.00"),
        "top_songs": [song],
        "computed_at": datetime(2024, 6, 26, 1, 2, 3, 40, UTC),
    }
    (item,) = to_items([Change(values, "insert", 7)], DAILY_GENRE_KPIS, version_offset=100)
    assert item == {
        "listen_date": "2024-06-25",
        "track_genre": "rock",
        "listen_count": 5,
        "avg_listening_time_per_user_ms": Decimal("5.00"),
        "top_songs": [song],
        "computed_at": "2024-06-26T01:02:03.000040Z",
        "source_version": 107,
        "deleted": False,
    }


def test_of_a_row_that_is_gone_an_item_has_the_key() -> None:
    (item,) = to_items([change("delete", 7, 5)], DAILY_GENRE_KPIS, version_offset=0)
    assert item == {"listen_date": "2024-06-25", "track_genre": "rock", "source_version": 7, "deleted": True}


def test_a_whole_table_is_as_if_one_commit_had_written_it() -> None:
    rows = [pa.Table.from_pylist([row("rock", 5)]), pa.Table.from_pylist([row("pop", 6)])]
    assert list(as_changes(rows, version=9)) == [change("insert", 9, 5), change("insert", 9, 6, "pop")]
