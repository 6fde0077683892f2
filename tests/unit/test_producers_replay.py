"""Replay: rows to events, and files that can't be replayed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from producers.errors import ProducerError
from producers.records import Lanes, lane_of
from producers.replay import Replay

if TYPE_CHECKING:
    from pathlib import Path

HEADER = "user_id,track_id,listen_time"


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_rows_become_events_as_they_are(tmp_path: Path) -> None:
    file = write(
        tmp_path / "streams1.csv",
        f"\ufeff{HEADER},played_ms,note\r\n"
        '26213,"a ""b"", c\nd",2024-06-25 17:43:13,1500,\r\n'
        "+007,x,,long,hé\r\n"
        "9223372036854775808,y,t\r\n"
        "\r\n"
        " ,z,t,1,n,surplus\r\n",
    )
    (chunk,) = Replay([file]).chunks(Lanes())
    assert [json.loads(payload) for payload in chunk.payloads] == [
        {"user_id": 26213, "track_id": 'a "b", c\nd', "listen_time": "2024-06-25 17:43:13", "played_ms": 1500},
        {"user_id": 7, "track_id": "x", "played_ms": "long", "note": "hé"},
        {"user_id": "9223372036854775808", "track_id": "y", "listen_time": "t"},
        {"track_id": "z", "listen_time": "t", "played_ms": 1, "note": "n", "column_6": "surplus"},
    ]
    assert chunk.keys == ["26213", "7", "9223372036854775808", "-"]
    assert chunk.positions == [0, 1, 2, 3]


def test_lanes_share_the_rows_by_key_and_keep_their_order(tmp_path: Path) -> None:
    rows = "".join(f"{number % 97},t{number},2024-06-25T17:43:13Z\n" for number in range(5_000))
    replay = Replay([write(tmp_path / "a.csv", f"{HEADER}\n{rows}")])
    whole = list(replay.chunks(Lanes()))
    positions = [position for chunk in whole for position in chunk.positions]
    payloads = [payload for chunk in whole for payload in chunk.payloads]
    keys = [key for chunk in whole for key in chunk.keys]
    assert positions == list(range(5_000))
    shared: dict[int, tuple[bytes, str]] = {}
    for chunk in (*replay.chunks(Lanes(5, (0, 3))), *replay.chunks(Lanes(5, (1, 2, 4)))):
        assert {lane_of(key, 5) for key in chunk.keys} == {chunk.lane}
        assert chunk.positions == sorted(chunk.positions)
        shared |= dict(zip(chunk.positions, zip(chunk.payloads, chunk.keys, strict=True), strict=True))
    assert [shared[position] for position in positions] == list(zip(payloads, keys, strict=True))


def test_bytes_that_are_no_utf8_go_out_as_they_are(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", f"{HEADER}\n1,M".encode() + b"\xfcnchen,2024-06-25T17:43:13Z\n")
    replay = Replay([file])
    (chunk,) = replay.chunks(Lanes())
    assert b'"M\xfcnchen"' in chunk.payloads[0]
    assert replay.facts().to_pylist()[0]["valid_utf8"] is False


def test_a_directory_stands_for_its_csv_files_in_order(tmp_path: Path) -> None:
    for name in ("streams2", "streams1"):
        write(tmp_path / f"{name}.csv", f"{HEADER}\n1,{name},t\n")
    write(tmp_path / "notes.txt", "x")
    replay = Replay([tmp_path])
    assert replay.facts().column("track_id").to_pylist() == ["streams1", "streams2"]
    assert len(replay) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"expected a header with user_id,track_id,listen_time in .*bad\.csv; found an empty file"),
        ("user_id,song\n1,x\n", r"columns .* in .*bad\.csv.*found 'user_id,song', without track_id, listen_time"),
        (f"{HEADER},user_id\n", r"bad\.csv.*with user_id more than once"),
        (f"{HEADER}\n", r"expected at least one listen; found only headers in .*bad\.csv"),
        (f'{HEADER}\n1,"x"y,t\n', r"bad\.csv as RFC 4180 CSV.* at line 2"),
        (f'{HEADER}\n1,"x,t\n', r"bad\.csv as RFC 4180 CSV.*found unexpected end of data"),
    ],
)
def test_a_file_that_cannot_be_replayed_is_named_with_what_was_found(
    tmp_path: Path, content: str, message: str
) -> None:
    with pytest.raises(ProducerError, match=message):
        Replay([write(tmp_path / "bad.csv", content)])


def test_no_files_and_missing_files_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ProducerError, match="found no file named"):
        Replay([])
    with pytest.raises(ProducerError, match=f"found none in {tmp_path}"):
        Replay([tmp_path])
    with pytest.raises(ProducerError, match=r"readable file .*absent\.csv; found No such file"):
        Replay([tmp_path / "absent.csv"])
