"""The traps of the domain, each by name: both batch jobs as they are, expected results written down by hand."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from boto3.dynamodb.types import TypeSerializer
from delta.tables import DeltaTable

from batch_jobs.archiving import Archive
from batch_jobs.dimensions import DimensionError
from lakehouse import layout
from lakehouse.boundaries import Boundaries
from tests.integration.spark_fixtures import PROCESSED_SCHEMA, Lab, listen, song, to_csv, without

DAY = "2024-06-25"
LATER = "2024-06-26"
TRANSFORM_BOUNDARIES = ("merged", "rejects_written", "marked", "copied", "archived", "deleted")
KPI_BOUNDARIES = (
    "consumed_archived",
    "partials_committed",
    "kpis_derived",
    "daily_listens_committed",
    "top_genres_committed",
    "daily_listens_items_written",
    "top_genres_items_written",
    "served",
    "metrics_written",
    "progress_recorded",
)


def put_catalog(lab: Lab) -> None:
    lab.put_users(1, 2, 3)
    lab.put_songs(
        song(1, "a", genre="rock", duration_ms=1000),
        song(2, "b", genre="rock", duration_ms=2000),
        song(3, "c", genre="pop", duration_ms=3000),
    )


def run_both(lab: Lab) -> None:
    lab.transform()
    lab.kpis()


def outcome(lab: Lab) -> dict[str, Any]:
    """Everything a run leaves that must not depend on how it came about."""
    versions = ("source_version", "run_id", "computed_at", "curated_version")
    return {
        "latest": lab.latest(),
        "consumed": without(lab.consumed(), "consumed_version"),
        "genres": without(lab.genre_items().values(), *versions),
        "charts": without(lab.chart_items().values(), *versions),
        "rejects": lab.rejects(),
        "pending": lab.keys(layout.PROCESSED),
        "archived": lab.keys(layout.ARCHIVES),
        "metrics": [(line["mode"], line["total_rows"], line["valid_rows"]) for line in lab.metrics()],
    }


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


def test_same_file_delivered_twice_and_two_files_of_one_day(lab: Lab) -> None:
    put_catalog(lab)
    first = (listen(1, "a", f"{DAY}T10:00:00", sequence=1), listen(2, "a", f"{DAY}T11:00:00", sequence=2))
    lab.put_batch(0, *first)
    lab.put_batch(1, *first)
    run_both(lab)
    lab.put_batch(2, *first)
    lab.put_batch(3, listen(1, "a", f"{DAY}T12:00:00", sequence=3), listen(3, "a", f"{DAY}T12:00:00", sequence=4))
    facts = lab.transform()
    lab.kpis()
    assert (facts["received"], facts["accepted"], facts["duplicates"]) == (4, 2, 2)
    rock = lab.genre_items()[DAY, "rock"]
    assert (rock["listen_count"], rock["unique_listeners"]) == (4, 3)


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


def test_conflicting_content_under_one_id_is_a_reject(lab: Lab) -> None:
    put_catalog(lab)
    lab.put_batch(
        0,
        listen(1, "b", f"{DAY}T10:00:00", event_id="e", sequence="10"),
        listen(1, "a", f"{DAY}T10:00:00", event_id="e", sequence="9"),
    )
    lab.transform()
    lab.put_batch(1, listen(2, "a", f"{DAY}T10:00:00", event_id="e", sequence="11"))
    lab.transform()
    assert [row["track_id"] for row in lab.latest()] == ["a"], "the shorter sequence number is the earlier one"
    found = [(row["reason"], row["sequence_number"]) for row in lab.rejects()]
    assert found == [("conflicting_duplicate", "10"), ("conflicting_duplicate", "11")]


def test_of_one_record_the_earlier_line_comes_first(lab: Lab) -> None:
    put_catalog(lab)
    lines = {2: "a", 10: "b", 9: "b", 3: "a"}
    lab.put_batch(
        0, *[listen(1, t, f"{DAY}T10:00:00", event_id="e", sequence="7", line=line) for line, t in lines.items()]
    )
    facts = lab.transform()
    assert [row["track_id"] for row in lab.latest()] == ["a"]
    assert (facts["accepted"], facts["duplicates"]) == (1, 1)
    found = [(row["reason"], row["sequence_number"], row["line"]) for row in lab.rejects()]
    assert found == [("conflicting_duplicate", "7", 9), ("conflicting_duplicate", "7", 10)]


def test_batches_from_before_records_held_many_events_are_merged_and_stand_on_line_1(lab: Lab) -> None:
    put_catalog(lab)
    before = PROCESSED_SCHEMA.remove(PROCESSED_SCHEMA.get_field_index("line"))
    old = (listen(1, "a", f"{DAY}T10:00:00", sequence=1), listen(9, "a", f"{DAY}T10:00:01", sequence=2))
    lab.put_batch(0, *old, schema=before)
    lab.put_batch(1, *old[:1], listen(2, "b", f"{DAY}T10:00:02", sequence=3, line=2))
    facts = lab.transform()
    assert (facts["received"], facts["accepted"], facts["duplicates"]) == (4, 2, 1)
    assert [(row["reason"], row["sequence_number"], row["line"]) for row in lab.rejects()] == [("unknown_user", "2", 1)]


def test_unknown_user_or_track_later_known(lab: Lab) -> None:
    put_catalog(lab)
    deliveries = (listen(9, "a", f"{DAY}T10:00:00.123456", sequence=1), listen(9, "zzz", f"{DAY}T10:00:01", sequence=2))
    lab.put_batch(0, *deliveries, listen(1, "zzz", f"{DAY}T10:00:02", sequence=3))
    lab.transform()
    assert [(row["reason"], row["sequence_number"]) for row in lab.rejects()] == [
        ("unknown_track", "3"),
        ("unknown_user", "1"),
        ("unknown_user", "2"),
    ]
    payload = json.loads(lab.rejects()[1]["payload"])
    # To the microsecond: the time is part of the key of what a replay of this payload makes.
    assert (payload["user_id"], payload["listen_time"]) == (9, f"{DAY}T10:00:00.123456Z")
    lab.put_users(1, 9)
    lab.put_batch(1, *deliveries[:1])
    run_both(lab)
    assert lab.genre_items()[DAY, "rock"]["unique_listeners"] == 1


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


@pytest.mark.parametrize("boundary", TRANSFORM_BOUNDARIES)
def test_a_crash_of_batch_transform_is_repaired_by_running_again(lab: Lab, boundary: str) -> None:
    put_catalog(lab)
    lab.put_batch(0, listen(1, "a", f"{DAY}T10:00:00", sequence=1), listen(9, "a", f"{DAY}T10:00:00", sequence=2))
    lost = f"{layout.PROCESSED}generation=0b6e/batch=0/attempt=lost/part-0.parquet"
    lab.put(lost, b"of an attempt that lost")
    assert lab.transform(kill_at=boundary)["crashed"]
    lab.transform()
    version = lab.latest_version()
    assert len(lab.latest()) == 1
    assert [row["reason"] for row in lab.rejects()] == ["unknown_user"]
    assert lab.keys(layout.PROCESSED) == []
    assert sorted(key.rsplit("/", 1)[1] for key in lab.keys(layout.ARCHIVES)) == [
        layout.MANIFEST,
        "part-0.snappy.parquet",
    ]
    lab.transform()
    assert lab.latest_version() == version


@pytest.mark.parametrize("boundary", KPI_BOUNDARIES)
def test_a_crash_of_kpi_transformation_is_repaired_by_running_again(lab: Lab, boundary: str) -> None:
    put_catalog(lab)
    lab.put_batch(0, listen(1, "a", f"{DAY}T10:00:00", sequence=1), listen(2, "c", f"{DAY}T10:00:00", sequence=2))
    lab.transform()
    assert lab.kpis(kill_at=boundary)["crashed"]
    lab.kpis()
    found = outcome(lab)
    assert found["metrics"] == [("incremental", "2", "2")]
    assert [row["event_id"] for row in found["consumed"]] == [row["event_id"] for row in found["latest"]]
    assert len(found["consumed"]) == 2
    assert [(item["track_genre"], item["listen_count"]) for item in found["genres"]] == [("pop", 1), ("rock", 1)]
    versions, items = lab.presentation_versions(), lab.genre_items()
    lab.kpis()
    lab.kpis(mode="recompute")
    assert (lab.presentation_versions(), lab.genre_items()) == (versions, items)


def test_steps_apart_do_what_both_do_together(lab: Lab) -> None:
    put_catalog(lab)
    lab.put_batch(0, listen(1, "a", f"{DAY}T10:00:00"))
    assert lab.transform(step="archive")["batches_merged"] == 0
    assert lab.keys(layout.ARCHIVES) == [], "nothing is archived before it is merged"
    lab.transform(step="transform")
    assert len(lab.latest()) == 1
    assert f"{layout.PROCESSED}generation=0b6e/batch=0/{layout.MANIFEST}" in lab.keys(layout.PROCESSED)
    lab.transform(step="archive")
    assert lab.keys(layout.PROCESSED) == []


def test_parquet_files_put_by_hand(lab: Lab) -> None:
    put_catalog(lab)
    times = [f"{DAY} 10:00:00", f"{DAY}T12:00:00+02:00", "yesterday", None]
    lab.put_by_hand("drop 1.parquet", pa.table({"user_id": [1, 2, 3, 1], "track_id": ["a"] * 4, "listen_time": times}))
    lab.put_by_hand("no-parquet.parquet", b"certainly not")
    lab.put_by_hand("columns.parquet", pa.table({"user": [1]}))
    run_both(lab)
    assert lab.genre_items()[DAY, "rock"]["listen_count"] == 2
    found = [(row["reason"], row["sequence_number"], row["line"]) for row in lab.rejects()]
    assert found == [("missing_field", "2", 1), ("missing_field", "3", 1)]
    assert lab.keys(layout.PROCESSED) == []
    kept = lab.keys(f"{layout.BAD_RECORDS}{layout.TRANSFORM_JOB}/unreadable-files/")
    assert sorted(key.rsplit("/", 1)[1] for key in kept) == [
        "columns.parquet",
        "no-parquet.parquet",
        "reason.json",
        "reason.json",
    ]


def test_a_file_that_changed_after_it_was_merged_is_not_archived(lab: Lab) -> None:
    put_catalog(lab)
    manifest = lab.put_batch(0, listen(1, "a", f"{DAY}T10:00:00"))
    lab.put(manifest.files[0].key, b"other content")
    with pytest.raises(lab.s3.exceptions.ClientError, match="PreconditionFailed"):
        Archive(lab.s3, lab.places.raw_bucket, Boundaries()).store([manifest])
    assert manifest.id.manifest_key in lab.keys(layout.PROCESSED)


def spoil_songs(lab: Lab, text: str | None) -> None:
    if text is None:
        lab.s3.delete_object(Bucket=lab.places.raw_bucket, Key=layout.SONGS_KEY)
    else:
        lab.put(layout.SONGS_KEY, text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, "no such file"),
        ("", "an empty file"),
        ("track_id,track_name,popularity,duration_ms,track_genre\n", "a header and no rows"),
        ("track_id,track_name,popularity,track_genre\na,b,1,c\n", "duration_ms missing"),
        ("track_id,track_id,track_name,popularity,duration_ms,track_genre\na,a,b,1,1,c\n", "a column twice"),
    ],
    ids=["no file", "empty", "header only", "column missing", "column twice"],
)
def test_a_dimension_that_cannot_be_used_stops_the_run_and_loses_nothing(
    lab: Lab, text: str | None, found: str
) -> None:
    put_catalog(lab)
    lab.put_batch(0, listen(1, "a", f"{DAY}T10:00:00"))
    spoil_songs(lab, text)
    with pytest.raises(DimensionError, match=found) as error:
        lab.transform()
    assert "songs/songs.csv" in str(error.value)
    put_catalog(lab)
    run_both(lab)
    assert lab.genre_items()[DAY, "rock"]["listen_count"] == 1


def test_a_malformed_row_and_a_badly_typed_cell_are_set_aside_with_their_reason(lab: Lab) -> None:
    lab.put_users(1)
    header = ("popularity", "track_genre", "track_id", "mood", "duration_ms", "track_name")
    rows = [
        {"track_id": "a", "track_name": "A", "popularity": 1, "duration_ms": 1000, "track_genre": "pop", "mood": "x"},
        {"track_id": "b", "track_name": "B", "popularity": 1, "duration_ms": "3.5", "track_genre": "pop", "mood": "x"},
        {"track_id": "", "track_name": "C", "popularity": 1, "duration_ms": 1000, "track_genre": "pop", "mood": "x"},
    ]
    lab.put(layout.SONGS_KEY, to_csv(header, rows))
    lab.put_batch(0, listen(1, "a", f"{DAY}T10:00:00", sequence=1), listen(1, "b", f"{DAY}T10:00:00", sequence=2))
    lab.transform()
    lab.put_batch(1, listen(1, "a", f"{DAY}T10:00:01", sequence=3))
    lab.transform()
    assert [row["track_id"] for row in lab.latest()] == ["a", "a"]
    lines = [
        json.loads(line)
        for key in lab.keys(f"{layout.BAD_RECORDS}dimensions/songs/")
        for line in lab.read(key).splitlines()
    ]
    assert len(lines) == 2, "once for each content of the file"
    assert {line["reason"] for line in lines} == {"malformed_row"}


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
