"""The record processor without its daemon: what it writes down, when it checkpoints, when it dies rather than skip."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from amazon_kclpy import kcl  # type: ignore[import-untyped]

from listenlake.watch.folder import WatchFolder
from listenlake.watch.observations import parse_listen_time, read_event_id
from listenlake.watch.processor import EventRecorder
from listenlake.watch.pulse import read_pulses, sum_up

SHARD = "shardId-000000000003"


def records(*payloads: bytes) -> dict[str, Any]:
    return {
        "action": "processRecords",
        "millisBehindLatest": 0,
        "records": [
            {
                "action": "record",
                "data": base64.b64encode(payload).decode(),
                "partitionKey": "k",
                "sequenceNumber": str(100 + number),
                "subSequenceNumber": 0,
                "approximateArrivalTimestamp": 1_700_000_000_000 + number,
            }
            for number, payload in enumerate(payloads)
        ],
    }


INITIALIZE = {"action": "initialize", "shardId": SHARD, "sequenceNumber": "TRIM_HORIZON", "subSequenceNumber": 0}
CHECKPOINTED = {"action": "checkpoint", "sequenceNumber": "100", "subSequenceNumber": 0}

Speak = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def speak(tmp_path: Path) -> Speak:
    """Let the daemon say something; return what the processor answered."""

    def say(*messages: dict[str, Any]) -> list[dict[str, Any]]:
        spoken = io.StringIO("".join(json.dumps(message) + "\n" for message in messages))
        answers = io.StringIO()
        recorder = EventRecorder(WatchFolder(tmp_path), "worker-1")
        kcl.KCLProcess(recorder, input_file=spoken, output_file=answers, error_file=io.StringIO()).run()
        return [json.loads(line) for line in answers.getvalue().splitlines() if line]

    return say


def lines_of(folder: Path) -> list[list[str]]:
    (file,) = (folder / "observations").iterdir()
    assert file.name.startswith(f"{SHARD}.")
    return [line.split("\t") for line in file.read_text().splitlines()]


def test_events_are_written_down_then_checkpointed(speak: Speak, tmp_path: Path) -> None:
    answers = speak(
        INITIALIZE,
        records(b'{"event_id":"a"}', b'{"event_id":"b"}\n\n{"event_id":"c"}\n{}', b"\xff"),
        CHECKPOINTED,
        {"action": "shutdownRequested"},
        CHECKPOINTED,
    )
    assert [row[:4] + row[5:] for row in lines_of(tmp_path)] == [
        ["100", "1", "a", "1700000000000", "."],
        ["101", "1", "b", "1700000000001", "."],
        ["101", "3", "c", "1700000000001", "."],
        ["101", "4", "", "1700000000001", "."],
        ["102", "1", "", "1700000000002", "."],
    ]
    assert [answer["action"] for answer in answers] == ["status", "checkpoint", "status", "checkpoint", "status"]
    (pulse,) = read_pulses(tmp_path / "pulses")
    assert (pulse.shard_id, pulse.worker_id, pulse.events, pulse.state) == (SHARD, "worker-1", 5, "ended")


def test_checkpoints_are_by_time(speak: Speak, tmp_path: Path) -> None:
    answers = speak(INITIALIZE, records(b"{}"), CHECKPOINTED, records(b"{}"), records(b"{}"))
    assert [answer["action"] for answer in answers].count("checkpoint") == 1
    assert len(lines_of(tmp_path)) == 3


def test_a_refused_checkpoint_is_tried_again(speak: Speak, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    speak(INITIALIZE, records(b"{}"), CHECKPOINTED | {"error": "ThrottlingException"}, records(b"{}"))
    assert len(lines_of(tmp_path)) == 2
    assert "ThrottlingException" in capsys.readouterr().err


def test_what_cannot_be_written_ends_the_process(speak: Speak, monkeypatch: pytest.MonkeyPatch) -> None:
    # A full disk writes less than it was asked to.
    monkeypatch.setattr("listenlake.watch.observations.os.write", lambda _descriptor, data: len(data) - 1)
    with pytest.raises(SystemExit):
        speak(INITIALIZE, records(b"{}"), CHECKPOINTED)


@pytest.mark.parametrize(
    ("payload", "event_id"),
    [
        (b'{"event_id":"x-1"}', "x-1"),
        ('{"event_id":"ä"}'.encode(), "ä"),
        (b'{"event_id":"a\\tb"}', ""),
        (b'{"event_id":7,"user_id":42,"track_id":"0abcDEF","listen_time":"2024-06-25 17:43:13"}', ""),
        (
            b'{"user_id":42,"track_id":"0abcDEF","listen_time":"2024-06-25 17:43:13"}',
            "25649fac-cb3d-51a8-9c64-7b105c21d190",
        ),
        (
            b'{"event_id":null,"user_id":42,"track_id":"0abcDEF","listen_time":"2024-06-25T13:43:13.000000999-04:00"}',
            "25649fac-cb3d-51a8-9c64-7b105c21d190",
        ),
        (b'{"user_id":true,"track_id":"0abcDEF","listen_time":"2024-06-25 17:43:13"}', ""),
        (b'{"user_id":42,"track_id":"0abcDEF","listen_time":"2024-06-31 17:43:13"}', ""),
        (b'{"event_id":"' + b"e" * 65 + b'"}', ""),
        (b'["event_id"]', ""),
        (b"{" * 100_000, ""),
        (b'{"a":' * 100_000, ""),
        (b'{"n":' + b"9" * 5000 + b"}", ""),
        ('{"event_id":"a"}'.encode("utf-16"), ""),
    ],
)
def test_ids_are_read_from_whatever_comes(payload: bytes, event_id: str) -> None:
    assert read_event_id(payload) == event_id


def test_times_are_not_what_python_reads_but_what_the_contract_says() -> None:
    assert parse_listen_time("20240625T174313") is None
    moment = parse_listen_time("2024-06-25T17:43:13.123456789Z")
    assert moment is not None
    assert moment.microsecond == 123456


def test_progress_knows_who_reads_and_who_does_not(speak: Speak, tmp_path: Path) -> None:
    speak(INITIALIZE, records(b"{}", b"{}"), CHECKPOINTED)
    pulses = read_pulses(tmp_path / "pulses")
    progress = sum_up(pulses, [SHARD, "shardId-000000000004"], workers=1, restarts=0)
    assert [(shard.shard_id, shard.reading, shard.events) for shard in progress.shards] == [
        (SHARD, True, 2),
        ("shardId-000000000004", False, 0),
    ]
    assert not progress.is_reading
    assert sum_up(pulses, [SHARD], workers=1, restarts=0).is_at_tip
    pulses[0].updated_at -= 3600
    assert not sum_up(pulses, [SHARD], workers=1, restarts=0).is_reading
