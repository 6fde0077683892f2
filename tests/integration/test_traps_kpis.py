"""The traps of counting, each by name: both batch jobs as they are, expected results written down by hand."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import duckdb
from boto3.dynamodb.types import TypeSerializer
from delta.tables import DeltaTable

from lakehouse import layout
from tests.integration.laboratory import Lab
from tests.integration.records import listen, song
from tests.integration.small_catalog import DAY, LATER, put_catalog, run_both


def test_repeat_listens_and_an_exact_average(lab: Lab) -> None:
    put_catalog(lab)
    lab.put_batch(
        0,
        listen(1, "a", f"{DAY}T10:00:00", sequence=1),
        listen(1, "a", f"{DAY}T10:00:01", sequence=2),
        listen(2, "b", f"{DAY}T10:00:00", sequence=3),
        listen(3, "a", f"{DAY}T23:59:59.999999", sequence=4),
        listen(3, "c", f"{LATER}T00:00:00", sequence=5),
    )
    run_both(lab)
    rock = lab.genre_items()[DAY, "rock"]
    assert (rock["listen_count"], rock["unique_listeners"], rock["total_listening_time_ms"]) == (4, 3, 5000)
    assert rock["avg_listening_time_per_user_ms"] == Decimal("1666.67")
    assert [(one["track_id"], one["plays"]) for one in rock["top_songs"]] == [("a", 3), ("b", 1)]
    assert set(lab.genre_items()) == {(DAY, "rock"), (LATER, "pop")}
    assert lab.chart_items()[LATER]["top_genres"] == [{"rank": 1, "track_genre": "pop", "listen_count": 1}]


def test_ties_at_rank_3_and_rank_5(lab: Lab) -> None:
    lab.put_users(1)
    genres = [f"g{number}" for number in range(6)]
    tracks = [f"t{number}" for number in range(5)]
    lab.put_songs(
        *[song(number, f"{genre}-{track}", genre=genre) for number, genre in enumerate(genres) for track in tracks]
    )
    lab.put_batch(
        0,
        *[
            listen(1, f"{genre}-{track}", f"{DAY}T10:{i:02d}:{j:02d}", sequence=10 * i + j)
            for i, genre in enumerate(reversed(genres))
            for j, track in enumerate(reversed(tracks))
        ],
    )
    run_both(lab)
    songs = lab.genre_items()[DAY, "g5"]["top_songs"]
    assert [one["track_id"] for one in songs] == ["g5-t0", "g5-t1", "g5-t2"]
    chart = lab.chart_items()[DAY]["top_genres"]
    assert [(one["rank"], one["track_genre"]) for one in chart] == [(i + 1, f"g{i}") for i in range(5)]


def test_quoted_comma_titles_and_a_parent_songs_file_with_repeated_tracks(lab: Lab) -> None:
    lab.put_users(1)
    title = 'He said "yes", twice\nand "no", once; ñ'
    lab.put_songs(
        song(7, "a", genre="wrong", duration_ms=9),
        song(3, "a", genre="right", duration_ms=1000, track_name=title),
        song(5, "a", genre="wrong", duration_ms=9),
    )
    lab.put_batch(0, listen(1, "a", f"{DAY}T10:00:00"))
    run_both(lab)
    [item] = lab.genre_items().values()
    assert (item["track_genre"], item["listen_count"]) == ("right", 1)
    assert item["top_songs"][0]["track_name"] == title


def test_late_file_for_an_old_day_leaves_other_days_untouched(lab: Lab) -> None:
    put_catalog(lab)
    lab.put_batch(0, listen(1, "a", f"{DAY}T10:00:00", sequence=1), listen(1, "a", f"{LATER}T10:00:00", sequence=2))
    run_both(lab)
    files, item = lab.latest_files(LATER), lab.genre_items()[LATER, "rock"]
    lab.put_batch(1, listen(2, "a", f"{DAY}T09:00:00", sequence=3))
    run_both(lab)
    assert lab.latest_files(LATER) == files
    assert lab.genre_items()[LATER, "rock"] == item
    assert lab.genre_items()[DAY, "rock"]["listen_count"] == 2


def test_null_genre_and_duration_null_or_0_are_dropped_and_counted_by_rule(lab: Lab) -> None:
    lab.put_users(1)
    lab.put_songs(
        song(1, "a", genre="rock"),
        song(2, "b", genre=" \t "),
        song(3, "c", genre=None, duration_ms=None),
        song(4, "d", genre="rock", duration_ms=0),
        song(5, "e", genre="rock", track_name=""),
    )
    lab.put_batch(0, *[listen(1, t, f"{DAY}T10:00:0{i}", sequence=i) for i, t in enumerate("abcde")])
    run_both(lab)
    [line] = lab.metrics()
    counted = {name: line[name] for name in line if name.endswith(("rows", "null", "positive"))}
    assert counted == {
        "total_rows": "5",
        "valid_rows": "1",
        "dropped_rows": "4",
        "user_id_null": "0",
        "track_name_null": "1",
        "track_genre_null": "2",
        "listen_time_null": "0",
        "listen_date_null": "0",
        "duration_ms_not_positive": "2",
    }
    assert [(key, item["listen_count"]) for key, item in lab.genre_items().items()] == [((DAY, "rock"), 1)]


def test_chart_that_shrinks_and_genre_that_vanishes_become_tombstones(lab: Lab, spark: Any) -> None:
    put_catalog(lab)
    lab.put_batch(
        0,
        listen(1, "a", f"{DAY}T10:00:00", sequence=1),
        listen(1, "b", f"{DAY}T10:00:01", sequence=2),
        listen(1, "c", f"{DAY}T10:00:02", sequence=3),
        listen(1, "c", f"{LATER}T10:00:02", sequence=4),
    )
    run_both(lab)
    before = lab.genre_items()
    latest = DeltaTable.forPath(spark, layout.uri(lab.places.curated_bucket, layout.LATEST))
    latest.delete(f"listen_date = DATE'{DAY}' AND track_id IN ('b', 'c')")
    latest.delete(f"listen_date = DATE'{LATER}'")
    lab.kpis()
    after = lab.genre_items()
    assert [one["track_id"] for one in after[DAY, "rock"]["top_songs"]] == ["a"]
    gone = after[DAY, "pop"]
    assert gone["deleted"] is True
    assert gone["listen_count"] == 0
    assert gone["source_version"] > before[DAY, "pop"]["source_version"]
    assert gone["expires_at"] > lab.now.timestamp()
    assert lab.chart_items()[LATER]["deleted"] is True
    assert [one["track_genre"] for one in lab.chart_items()[DAY]["top_genres"]] == ["rock"]


def test_an_older_run_that_finishes_late_is_refused(lab: Lab) -> None:
    put_catalog(lab)
    lab.put_batch(0, listen(1, "a", f"{DAY}T10:00:00", sequence=1))
    run_both(lab)
    item = lab.genre_items()[DAY, "rock"]
    newer = {**item, "source_version": Decimal(99), "listen_count": Decimal(77)}
    serialize = TypeSerializer().serialize
    lab.dynamodb.put_item(
        TableName=lab.places.daily_listens_table, Item={name: serialize(value) for name, value in newer.items()}
    )
    lab.put_batch(1, listen(2, "a", f"{DAY}T11:00:00", sequence=2))
    lab.transform()
    assert lab.kpis()["daily_listens_served"] == {"refused": 1}
    assert lab.genre_items()[DAY, "rock"]["listen_count"] == 77


def test_random_days_equal_duckdb(lab: Lab) -> None:
    lab.put_users(*range(1, 30))
    lab.put_songs(*[song(i, f"t{i}", genre=f"g{i % 4}", duration_ms=1000 + 7 * i) for i in range(23)])
    picked = [(1 + i * 7919 % 29, i * 104729 % 23, i) for i in range(400)]
    lab.put_batch(
        0, *[listen(u, f"t{t}", f"{DAY}T{i // 60:02d}:{i % 60:02d}:00", sequence=i) for u, t, i in picked[:250]]
    )
    lab.put_batch(
        1, *[listen(u, f"t{t}", f"{DAY}T{i // 60:02d}:{i % 60:02d}:00", sequence=i) for u, t, i in picked[200:]]
    )
    run_both(lab)
    expected = duckdb.execute(
        """SELECT 'g' || (t % 4), count(*), count(DISTINCT u), sum(1000 + 7 * t)
        FROM (SELECT unnest($1) AS u, unnest($2) AS t) GROUP BY 1 ORDER BY 1""",
        [[u for u, _, _ in picked], [t for _, t, _ in picked]],
    ).fetchall()
    names = ("track_genre", "listen_count", "unique_listeners", "total_listening_time_ms")
    assert [tuple(item[name] for name in names) for item in lab.genre_items().values()] == expected
