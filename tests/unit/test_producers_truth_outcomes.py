"""The outcome of each event of the truth: accepted, rejected for which reason, or a duplicate of which other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from producers.replay import Replay
from producers.truth import build_sent, compute_truth
from tests.unit.replayed_listens import acknowledge, truth_of

if TYPE_CHECKING:
    from pathlib import Path

REASONS = [
    ("1,a,2024-06-25T10:00:00Z", "accepted"),
    ("2024,a", "missing_field"),
    (",a,2024-06-25T10:00:00Z", "missing_field"),
    ("1,  ,2024-06-25T10:00:00Z", "missing_field"),
    ("one,a,2024-06-25T10:00:00Z", "wrong_type"),
    ("1.0,a,2024-06-25T10:00:00Z", "wrong_type"),
    ("9223372036854775808,a,2024-06-25T10:00:00Z", "wrong_type"),
    (f"1,{'t' * 65},2024-06-25T10:00:00Z", "invalid_value"),
    (f"1,{'🎧' * 64},2024-06-25T10:00:00Z", "unknown_track"),
    (f"1,{'t' * 65_600},2024-06-25T10:00:00Z", "oversize"),
    ("1,a,2024-06-25", "invalid_time"),
    ("1,a,2024-02-30 10:00:00", "invalid_time"),
    ("1,a,2024-06-25 24:00:00", "invalid_time"),
    ("1,a,2024-06-25T10:00:00 +02:00", "invalid_time"),
    ("1,a,2024-06-25T10:00:00+19:00", "invalid_time"),
    ("1,a,1999-12-31T23:59:59.999999Z", "impossible_time"),
    ("1,a,2000-01-01T00:00:00+00:01", "impossible_time"),
    ("1,a,2000-01-01T00:00:00Z", "accepted"),
    ("1,a,2024-06-29T00:00:00Z", "accepted"),
    ("1,a,2024-06-29T00:00:00.000001Z", "impossible_time"),
    ("77,nowhere,2024-06-25T10:00:00Z", "unknown_user"),
    ("1,nowhere,2024-06-25T10:00:00Z", "unknown_track"),
]


@pytest.mark.parametrize(("row", "outcome"), REASONS, ids=range(len(REASONS)))
def test_each_replayed_row_gets_its_outcome(tmp_path: Path, row: str, outcome: str) -> None:
    truth = truth_of(tmp_path, row + "\n")
    assert truth.records.column("outcome").to_pylist() == [outcome]


def test_listen_time_is_cut_to_the_microsecond_and_shifted_by_its_offset(tmp_path: Path) -> None:
    times = (
        "2024-06-25T10:00:00.1234569Z",
        "2024-06-25 10:00:00.5",
        "2024-06-25T10:00:00+05:30",
        "2024-06-25T10:00:00-05:00",
    )
    truth = truth_of(tmp_path, "".join(f"1,a,{time}\n" for time in times))
    found = [str(moment) for moment in truth.records.column("listen_time").to_pylist()]
    assert found == [
        "2024-06-25 10:00:00.123456",
        "2024-06-25 10:00:00.500000",
        "2024-06-25 04:30:00",
        "2024-06-25 15:00:00",
    ]


def test_the_first_in_the_shard_wins_and_lost_records_count_for_nothing(tmp_path: Path) -> None:
    listens = """1,a,2024-06-25T10:00:00Z,e1
1,b,2024-06-25T10:00:00Z,e1
1,b,2024-06-25T10:00:00Z,e1
1,c,2024-06-25T10:00:00Z,e1
1,b,2024-06-25T10:00:01Z,e1
77,a,2024-06-25T10:00:00Z,e2
bad,a,2024-06-25T10:00:00Z,e3
bad,a,2024-06-25T10:00:00Z,e4
"""
    truth = truth_of(tmp_path, listens, header=",event_id", lost=(0, 6))
    outcomes = [None, "accepted", "duplicate", "conflicting_duplicate", "accepted", "unknown_user", None, "wrong_type"]
    assert truth.records.column("outcome").to_pylist() == outcomes
    assert truth.rejects == [
        {"reason": "conflicting_duplicate", "shard_id": "shardId-0", "sequence_number": "10", "line": 1},
        {"reason": "unknown_user", "shard_id": "shardId-0", "sequence_number": "12", "line": 1},
        {"reason": "wrong_type", "shard_id": "shardId-0", "sequence_number": "14", "line": 1},
    ]
    counts = truth.counts
    assert (counts.sent, counts.acknowledged, counts.accepted, counts.duplicates) == (8, 6, 2, 1)


def test_the_first_line_of_a_record_wins_and_lines_are_numbers(tmp_path: Path) -> None:
    tracks = ["d", *"abcabcabc", "a", "b"]
    listens = "".join(f"1,{track},2024-06-25T10:00:00Z,e\n" for track in tracks)
    truth_of(tmp_path, listens, header=",event_id")
    facts = Replay([tmp_path / "listens.csv"]).facts()
    ledger = acknowledge(12, lost=(0,), record_of=12)
    places = {"users_csv": tmp_path / "users.csv", "songs_csv": tmp_path / "songs.csv"}
    truth = compute_truth(build_sent(facts, ledger), **places)
    expected = [None, "accepted", *["conflicting_duplicate", "conflicting_duplicate", "duplicate"] * 3]
    expected[10:] = ["duplicate", "conflicting_duplicate"]
    assert truth.records["outcome"].to_pylist() == expected
    assert [(one["sequence_number"], one["line"]) for one in truth.rejects] == [
        ("7", line) for line in (3, 4, 6, 7, 9, 10, 12)
    ]
