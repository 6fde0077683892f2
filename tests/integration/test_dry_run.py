"""A dry run says per date what a run would do, and leaves every object, table and item as it was."""

from __future__ import annotations

from lakehouse import layout
from tests.integration.laboratory import Lab
from tests.integration.records import listen, to_csv

DAY, LATER = "2024-06-25", "2024-06-26"


def everything(lab: Lab) -> dict[str, bytes]:
    buckets = (lab.places.raw_bucket, lab.places.curated_bucket, lab.places.presentation_bucket)
    return {
        f"{bucket}/{key}": lab.read(key, bucket=bucket) for bucket in buckets for key in lab.keys("", bucket=bucket)
    }


def test_a_dry_run_foresees_what_the_run_does_and_changes_nothing(lab: Lab) -> None:
    lab.put_users(1, 2)
    lab.put(
        layout.SONGS_KEY,
        to_csv(
            ("track_id", "track_name", "popularity", "duration_ms", "track_genre"),
            [
                {"track_id": "a", "track_name": "n", "popularity": "1", "duration_ms": "1000", "track_genre": "rock"},
                {"track_id": "", "track_name": "no id", "popularity": "1", "duration_ms": "1", "track_genre": "rock"},
            ],
        ),
    )
    first = listen(1, "a", f"{DAY}T10:00:00", sequence=1)
    lab.put_batch(0, first, listen(9, "a", f"{DAY}T10:00:00", sequence=2), files=2)
    lab.put_batch(
        1, first, listen(2, "a", f"{LATER}T10:00:00", sequence=3), listen(2, "x", f"{LATER}T10:00:00", sequence=4)
    )
    lab.put_by_hand("no-parquet.parquet", b"certainly not")
    before = everything(lab)
    foreseen = lab.transform(dry_run="true")
    assert everything(lab) == before
    assert foreseen["would"] == {
        "merge_batches": 3,
        "archive_batches": 3,
        "archive_objects": 4,
        "dates": {DAY: {"accepted": 1, "duplicate": 1, "unknown_user": 1}, LATER: {"accepted": 1, "unknown_track": 1}},
        "come_back": 0,
    }
    assert foreseen["batches_merged"] == 0

    stopped = lab.transform(dry_run="true", breaker_minimum=5, breaker_rate=0.39)["would"]
    assert "found 2 of 5 events (40.0%)" in stopped["stop"]
    assert (stopped["merge_batches"], stopped["archive_batches"], stopped["archive_objects"]) == (0, 0, 0)

    facts = lab.transform(step="transform")
    assert (facts["accepted"], facts["duplicates"]) == (2, 1)
    assert facts["rejected"] == {"unknown_user": 1, "unknown_track": 1}
    merged = everything(lab)
    assert lab.transform(dry_run="true")["would"] == {
        "merge_batches": 0,
        "archive_batches": 3,
        "archive_objects": 4,
        "dates": {},
    }
    assert everything(lab) == merged
