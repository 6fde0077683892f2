"""The truth against hand-written tables and against plain Python over the bytes that were sent."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from producers.errors import ProducerError
from producers.ledger import LEDGER
from producers.manifest import TruthManifest, read_manifest, write_manifest
from producers.records import FACTS
from producers.replay import Replay
from producers.truth import Truth, build_sent, compute_truth

if TYPE_CHECKING:
    from pathlib import Path

SENT_AT = datetime(2024, 6, 28, tzinfo=UTC).timestamp()
USERS_CSV = "user_id,user_name\r\n1,Ada\r\n2,Björn\r\n3,\r\nx,Nobody\r\n1,Ada again\r\n"
SONGS_CSV = """id,track_id,artists,track_name,popularity,duration_ms,track_genre
9,a,Band,Second id,1,1,wrong
1,a,"Band, Jr.","A ""quoted"", title
of two lines",1,100001,rock
2,b,Band,B,1,100001,rock
3,c,Band,C,1,100001,rock
4,d,Band,D,1,100001,rock
5,zero,Band,Zero,1,0,rock
6,blank_genre,Band,X,1,1000,
7,blank_name,Band,"  ",1,1000,rock
8,no_duration,Band,X,1,,rock
10,broken,Band,X,1,3.5,rock
11,j,Band,J,1,1,jazz
12,k,Band,K,1,1,kids
13,l,Band,L,1,1,latin
14,m,Band,M,1,1,metal
15,n,Band,N,1,1,new-age
16,short,Band,X
"""


def acknowledge(count: int, lost: tuple[int, ...] = (), *, record_of: int = 1) -> pa.Table:
    """The ledger of a delivery that puts `record_of` successive events into each record."""
    rows = [
        {
            "position": place,
            "shard_id": None if place in lost else "shardId-0",
            "sequence_number": None if place in lost else str(place // record_of + 7),  # 7..9, 10..: length counts
            "line": place % record_of + 1,
            "sent_at": SENT_AT,
            "acknowledged_at": None if place in lost else SENT_AT + 0.5,
            "tries": 1,
            "unanswered": place % 2,
        }
        for place in range(count)
    ]
    return pa.Table.from_pylist(rows, LEDGER)


def truth_of(directory: Path, listens: str, *, lost: tuple[int, ...] = (), header: str = "") -> Truth:
    (directory / "users.csv").write_bytes(USERS_CSV.encode())
    (directory / "songs.csv").write_bytes(SONGS_CSV.encode())
    (directory / "listens.csv").write_text(f"user_id,track_id,listen_time{header}\n{listens}")
    replay = Replay([directory / "listens.csv"])
    sent = build_sent(replay.facts(), acknowledge(len(replay), lost))
    return compute_truth(sent, users_csv=directory / "users.csv", songs_csv=directory / "songs.csv")


def test_daily_genre_kpis_by_hand(tmp_path: Path) -> None:
    listens = """1,b,2024-06-25T10:00:00Z
1,c,2024-06-25T10:00:00Z
1,d,2024-06-25T10:00:00Z
1,a,2024-06-25T10:00:00Z
2,a,2024-06-25 10:00:00
2,zero,2024-06-25 10:00:00
2,blank_genre,2024-06-25 10:00:00
2,blank_name,2024-06-25 10:00:00
2,no_duration,2024-06-25 10:00:00
2,broken,2024-06-25 10:00:00
1,short,2024-06-25 10:00:00
1,j,2024-06-25T23:59:59.999999Z
1,k,2024-06-25T00:00:00Z
3,l,2024-06-26T01:30:00+02:00
1,m,2024-06-25T10:00:00Z
1,n,2024-06-24T23:30:00-01:00
1,a,2024-06-26T00:00:00Z
"""
    truth = truth_of(tmp_path, listens)
    rock, other = (next(g for g in truth.genres if g["track_genre"] == "rock" and g["listen_date"] == day) for day in (
        "2024-06-25", "2024-06-26"))  # fmt: skip
    assert rock == {
        "listen_date": "2024-06-25",
        "track_genre": "rock",
        "listen_count": 5,
        "unique_listeners": 2,
        "total_listening_time_ms": 500_005,
        "avg_listening_time_per_user_ms": "250002.50",
        "top_songs": [
            {"rank": 1, "track_id": "a", "track_name": 'A "quoted", title\nof two lines', "artists": "Band, Jr.",
             "plays": 2},
            {"rank": 2, "track_id": "b", "track_name": "B", "artists": "Band", "plays": 1},
            {"rank": 3, "track_id": "c", "track_name": "C", "artists": "Band", "plays": 1},
        ],
    }  # fmt: skip
    assert (other["listen_count"], other["avg_listening_time_per_user_ms"]) == (1, "100001.00")
    assert truth.top_genres == [
        {
            "listen_date": "2024-06-25",
            "top_genres": [
                {"rank": 1, "track_genre": "rock", "listen_count": 5},
                {"rank": 2, "track_genre": "jazz", "listen_count": 1},
                {"rank": 3, "track_genre": "kids", "listen_count": 1},
                {"rank": 4, "track_genre": "latin", "listen_count": 1},
                {"rank": 5, "track_genre": "metal", "listen_count": 1},
            ],
        },
        {"listen_date": "2024-06-26", "top_genres": [{"rank": 1, "track_genre": "rock", "listen_count": 1}]},
    ]
    assert "wrong" not in {genre["track_genre"] for genre in truth.genres}
    counts = truth.counts
    assert (counts.accepted, counts.dropped_by_validation, counts.duplicates) == (15, 4, 0)
    assert counts.rejected == {"unknown_track": 2}


@pytest.mark.parametrize("durations", [(1, 0, 0), (1, 1, 0), (3, 2, 0), (25, 0, 0), (29, 0, 0)])
@pytest.mark.parametrize("users", [3, 8])
def test_the_average_is_rounded_half_even(tmp_path: Path, durations: tuple[int, ...], users: int) -> None:
    total = durations[0] + durations[1] + users
    expected = (Decimal(total) / users).quantize(Decimal("0.01"), rounding="ROUND_HALF_EVEN")
    (tmp_path / "users.csv").write_text("user_id,user_name\n" + "".join(f"{n},n\n" for n in range(users)))
    songs = [f"t{n},name,1,{ms + 1},g" for n, ms in enumerate(durations)] + ["one,name,1,1,g"]
    (tmp_path / "songs.csv").write_text(
        "track_id,track_name,popularity,duration_ms,track_genre\n" + "\n".join(songs) + "\n"
    )
    tracks = ["t0", "t1", *["one"] * (users - 2)]
    rows = "".join(f"{n},{track},2024-06-25T10:00:00Z\n" for n, track in enumerate(tracks))
    (tmp_path / "listens.csv").write_text("user_id,track_id,listen_time\n" + rows)
    replay = Replay([tmp_path / "listens.csv"])
    sent = build_sent(replay.facts(), acknowledge(len(replay)))
    truth = compute_truth(sent, users_csv=tmp_path / "users.csv", songs_csv=tmp_path / "songs.csv")
    assert truth.genres[0]["total_listening_time_ms"] == total
    assert truth.genres[0]["avg_listening_time_per_user_ms"] == str(expected)


def test_unique_listeners_span_the_files_of_a_day_and_a_repeated_file_counts_once(tmp_path: Path) -> None:
    truth_of(tmp_path, "1,a,2024-06-25T10:00:00Z\n2,a,2024-06-25T10:00:00Z\n")
    (tmp_path / "more.csv").write_text(
        "user_id,track_id,listen_time\n1,a,2024-06-25T10:00:01Z\n1,a,2024-06-25T12:00:00+02:00\n"
    )
    replay = Replay([tmp_path / "listens.csv", tmp_path / "more.csv", tmp_path / "listens.csv"])
    sent = build_sent(replay.facts(), acknowledge(len(replay)))
    truth = compute_truth(sent, users_csv=tmp_path / "users.csv", songs_csv=tmp_path / "songs.csv")
    (genre,) = truth.genres
    assert (genre["listen_count"], genre["unique_listeners"]) == (3, 2)
    assert (truth.counts.accepted, truth.counts.duplicates) == (3, 3)


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


def test_events_of_any_positions_are_joined_with_their_facts() -> None:
    count = 7
    facts = pa.Table.from_pylist([dict.fromkeys(FACTS.names) | {"user_id": n} for n in range(count)], FACTS)
    facts = pa.concat_tables([facts.slice(0, 3), facts.slice(3)])
    ledger = acknowledge(count).take([1, 2, 4, 6])
    sent = build_sent(facts, ledger)
    assert sent["user_id"].to_pylist() == sent["position"].to_pylist() == [1, 2, 4, 6]
    assert sent.select(LEDGER.names).cast(LEDGER) == ledger
    assert build_sent(facts, LEDGER.empty_table()).num_rows == 0


@pytest.mark.parametrize("positions", [[1, 0], [1, 1], [0, 7], [-1, 0]])
def test_a_ledger_out_of_order_is_no_truth(positions: list[int]) -> None:
    facts = pa.Table.from_pylist([dict.fromkeys(FACTS.names)] * 7, FACTS)
    ledger = acknowledge(2).set_column(0, "position", pa.array(positions, pa.int64()))
    with pytest.raises(ProducerError, match="expected ascending positions of 7 events"):
        build_sent(facts, ledger)


def test_a_manifest_row_says_where_an_event_stands_and_how_it_got_there(tmp_path: Path) -> None:
    truth = truth_of(tmp_path, "1,a,2024-06-25T10:00:00Z\n1,b,2024-06-25T10:00:00Z\n", lost=(1,))
    names = ["acknowledged", "shard_id", "sequence_number", "line", "sent_at", "acknowledged_at", "tries", "unanswered"]
    assert truth.records.select(names).to_pylist() == [
        dict(zip(names, row, strict=True))
        for row in [
            (True, "shardId-0", "7", 1, SENT_AT, SENT_AT + 0.5, 1, 0),
            (False, None, None, 1, SENT_AT, None, 1, 1),
        ]
    ]


@pytest.mark.parametrize(
    ("users", "message"),
    [
        ("", r"user_id, user_name in .*users\.csv.*found an empty file"),
        ("user_id,name\n1,x\n", "found the header 'user_id,name'"),
        (None, r"dimension file .*users\.csv"),
    ],
)
def test_a_dimension_file_that_cannot_be_used_is_named(tmp_path: Path, users: str | None, message: str) -> None:
    truth_of(tmp_path, "1,a,2024-06-25T10:00:00Z\n")
    (tmp_path / "users.csv").unlink()
    if users is not None:
        (tmp_path / "users.csv").write_text(users)
    sent = build_sent(Replay([tmp_path / "listens.csv"]).facts(), acknowledge(1))
    with pytest.raises(ProducerError, match=message):
        compute_truth(sent, users_csv=tmp_path / "users.csv", songs_csv=tmp_path / "songs.csv")


def test_the_manifest_survives_the_disk_and_its_absence_is_an_error(tmp_path: Path) -> None:
    truth = truth_of(tmp_path, "1,a,2024-06-25T10:00:00Z\n77,a,2024-06-25T10:00:00Z\nx,a,t\n", lost=(2,))
    manifest = TruthManifest(source="replay", stream="listens", settings={"a": 1}, delivery={"sent": 3}, truth=truth)
    with pytest.raises(ProducerError, match="found no such file"):
        read_manifest(tmp_path / "truth")
    write_manifest(manifest, tmp_path / "truth")
    again = read_manifest(tmp_path / "truth")
    assert again == manifest
    assert again.truth.rejects == truth.rejects != []
    assert sorted(path.name for path in (tmp_path / "truth").iterdir()) == [
        "kpis.json",
        "manifest.json",
        "records.parquet",
    ]
