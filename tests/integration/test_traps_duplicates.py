"""The traps of events that come more than once, in other company or before their user and track are known."""

from __future__ import annotations

import json

from tests.integration.laboratory import Lab
from tests.integration.records import PROCESSED_SCHEMA, listen
from tests.integration.small_catalog import DAY, put_catalog, run_both


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
