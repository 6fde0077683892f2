"""The KPIs of the truth against hand-written tables: counts, listeners, averages and charts."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from producers.replay import Replay
from producers.truth import build_sent, compute_truth
from tests.unit.replayed_listens import acknowledge, truth_of

if TYPE_CHECKING:
    from pathlib import Path


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
