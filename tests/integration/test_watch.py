"""The live check with the real Kinesis Client: nothing acknowledged goes unseen, whatever of the watch is killed.

One long story, since a daemon takes its time: a session is killed outright; a second one resumes, loses a JVM and
a record processor, sees everything, and leaves neither process nor table behind.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pytest

from listenlake.watch.errors import WatchBusyError, WatchError
from listenlake.watch.leases import SUFFIXES
from listenlake.watch.session import Watch, WatchSettings
from listenlake.watch.target import local_target
from local_cloud.cloud import Cloud
from local_cloud.processes import find_left

SHARDS = 3
USERS = 40
SESSION = """
import sys, time
from pathlib import Path
from listenlake.watch.session import Watch, WatchSettings
from listenlake.watch.target import local_target
from local_cloud import lifecycle

state, stream, folder = sys.argv[1:]
with Watch(Path(folder), local_target(lifecycle.load(Path(state)), stream), WatchSettings(workers=1)) as watch:
    watch.wait_until_reading()
    print("reading", flush=True)
    time.sleep(600)
"""


def wait_until(holds: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
        time.sleep(0.1)


class Sender:
    """Sends events by hand, plain or as JSON Lines, and keeps the ledger."""

    def __init__(self, kinesis: Any, stream: str) -> None:
        self.kinesis = kinesis
        self.stream = stream
        self.rows: list[dict[str, Any]] = []

    def send(self, records: int, *, lines: int = 1) -> None:
        """Send records of `lines` events each; every 50th event repeats the id of the one before of its user."""
        for first in range(0, records, 100):
            batch = [self._record(number, lines) for number in range(first, min(first + 100, records))]
            sent_at = time.time()
            entries = [{"Data": "\n".join(events).encode(), "PartitionKey": str(user)} for user, _, events in batch]
            answers = self.kinesis.put_records(StreamName=self.stream, Records=entries)["Records"]
            for (user, ids, _), answer in zip(batch, answers, strict=True):
                for line, event_id in enumerate(ids, start=1):
                    self._note(user, event_id, line, answer, sent_at)

    def _record(self, number: int, lines: int) -> tuple[int, list[str], list[str]]:
        user = number % USERS
        ids = [str(uuid.uuid4()) for _ in range(lines)]
        if number % 50 == 49:
            ids[-1] = ids[0]
        fields = {"user_id": user, "track_id": "t", "listen_time": "2024-06-25T17:43:13Z"}
        return user, ids, [json.dumps({"event_id": event_id, **fields}) for event_id in ids]

    def _note(self, user: int, event_id: str, line: int, answer: dict[str, Any], sent_at: float) -> None:
        self.rows.append(
            {
                "position": len(self.rows),
                "kind": "plain",
                "acknowledged": True,
                "shard_id": answer["ShardId"],
                "sequence_number": answer["SequenceNumber"],
                "line": line,
                "sent_at": sent_at,
                "tries": 1,
                "unanswered": 0,
                "event_id": event_id,
                "user_id": user,
                "track_id": "t",
                "listen_time": None,
            }
        )

    def ledger(self) -> pa.Table:
        return pa.Table.from_pylist(self.rows)


@pytest.fixture
def sender(cloud: Cloud) -> Iterator[Sender]:
    kinesis, stream = cloud.client("kinesis"), f"watched-{uuid.uuid4().hex[:8]}"
    kinesis.create_stream(StreamName=stream, ShardCount=SHARDS)
    kinesis.get_waiter("stream_exists").wait(StreamName=stream, WaiterConfig={"Delay": 1})
    yield Sender(kinesis, stream)
    kinesis.delete_stream(StreamName=stream)


def daemons(folder: Path) -> list[psutil.Process]:
    return [process for process in find_left(folder) if process.name() == "java"]


def processors(folder: Path) -> list[psutil.Process]:
    return [process for process in find_left(folder) if "listenlake.watch.processor" in process.cmdline()]


def test_everything_is_seen_whatever_is_killed(cloud: Cloud, sender: Sender, tmp_path: Path) -> None:
    folder = tmp_path / "watch"
    observations = folder / "observations"
    command = [sys.executable, "-c", SESSION, str(cloud.state), sender.stream, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as session:
        assert session.stdout is not None
        assert session.stdout.readline() == b"reading\n"
        sender.send(1_000)
        wait_until(lambda: sum(file.stat().st_size for file in observations.iterdir()) > 0, "the first event seen")
        with pytest.raises(WatchBusyError):
            Watch(folder, local_target(cloud, sender.stream)).start()
        session.kill()
    application = json.loads((folder / "watch.json").read_text())["application"]
    wait_until(lambda: not find_left(folder), "the killed session's processes to go")

    sender.send(200, lines=20)
    told: list[str] = []
    with Watch(folder, local_target(cloud, sender.stream), WatchSettings(workers=2), on_event=told.append) as watch:
        watch.wait_until_reading()
        wait_until(lambda: len(daemons(folder)) == 2, "both daemons")
        daemons(folder)[0].kill()
        sender.send(1_000)
        wait_until(lambda: watch.restarts == 1 and bool(processors(folder)), "the daemon to be started again")
        processors(folder)[0].kill()
        sender.send(200, lines=20)
        wait_until(lambda: watch.restarts == 2, "the daemon of the killed processor to be started again")
        sender.send(500)
        assert watch.wait_for(sender.ledger(), timeout=90)
        found = watch.verify(sender.ledger())
        assert all(shard.worker_id in {"worker-1", "worker-2"} for shard in watch.progress().shards)

    assert found.verdict() == "complete: 10,500 of 10,500 acknowledged events seen, duplicates as injected"
    assert found.is_good
    # 4 + 4 repeated ids in the records of 20 lines; a plain record has no other line to repeat.
    assert (found.duplicates_injected, found.duplicates_found) == (8, 8)
    assert (found.other, found.altered, found.sent_twice) == (0, 0, 0)
    assert found.restarts == len(told) == 2
    assert len(found.shards) == SHARDS
    assert not find_left(folder)
    tables = cloud.client("dynamodb").list_tables()["TableNames"]
    assert not {application + suffix for suffix in SUFFIXES} & set(tables)


def test_what_cannot_be_watched_is_said(cloud: Cloud, sender: Sender, tmp_path: Path) -> None:
    with pytest.raises(WatchError, match="expected a stream no-such-stream; found none"):
        Watch(tmp_path, local_target(cloud, "no-such-stream")).start()
