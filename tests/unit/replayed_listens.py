"""Listens that were replayed against a small catalog, the ledger of their delivery, and the truth about them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from producers.ledger import LEDGER
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
