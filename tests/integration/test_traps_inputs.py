"""The traps of files that others write: parquet put by hand, dimensions that cannot be used, rows that are wrong."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from batch_jobs.dimensions import DimensionError
from lakehouse import layout
from tests.integration.laboratory import Lab
from tests.integration.records import listen, to_csv
from tests.integration.small_catalog import DAY, put_catalog, run_both


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
