"""A lane over a scripted Kinesis, which keeps what it acknowledges and refuses what real Kinesis refuses."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
from botocore.exceptions import ClientError

from lakehouse.events import split_events
from producers.intake import Due
from producers.lanes import Lane
from producers.ledger import LedgerWriter, read_ledger
from producers.records import Chunk
from producers.report.measures import Measures
from producers.settings import Clock, DeliverySettings
from producers.slots import HashSlots, ShardMap

Script = Callable[[int, list[dict[str, Any]]], set[int]]
"""Gets the number of the call and its entries; returns the places that fail, or raises."""


class FakeKinesis:
    def __init__(self, script: Script = lambda _call, _entries: set()) -> None:
        self.script = script
        self.calls: list[list[bytes]] = []
        self.kept: list[tuple[str, bytes]] = []
        self.shards = {"shardId-0": 0, "shardId-1": 1 << 127}

    def get_paginator(self, name: str) -> Any:
        assert name == "list_shards"
        return self

    def paginate(self, *, StreamName: str) -> list[dict[str, Any]]:  # noqa: N803
        assert StreamName == "listens"
        ranges = [
            {"ShardId": name, "HashKeyRange": {"StartingHashKey": str(start)}, "SequenceNumberRange": {}}
            for name, start in self.shards.items()
        ]
        return [{"Shards": ranges[:1]}, {"Shards": ranges[1:]}]

    def shard_of(self, entry: dict[str, Any]) -> str:
        text = entry.get("ExplicitHashKey")
        key = (
            int(text)
            if text
            else int.from_bytes(hashlib.md5(entry["PartitionKey"].encode(), usedforsecurity=False).digest())
        )
        return max((start, name) for name, start in self.shards.items() if start <= key)[1]

    def put_records(self, *, StreamName: str, Records: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        assert StreamName == "listens"
        assert 1 <= len(Records) <= 500
        sizes = [len(entry["Data"]) + len(entry["PartitionKey"].encode()) for entry in Records]
        assert max(sizes) <= 1024 * 1024
        assert sum(sizes) <= 5 * 1024 * 1024
        assert all(1 <= len(entry["PartitionKey"]) <= 256 for entry in Records)
        self.calls.append([entry["Data"] for entry in Records])
        failing = self.script(len(self.calls), Records)
        answers: list[dict[str, str]] = []
        for place, entry in enumerate(Records):
            if place in failing:
                answers.append({"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "slow down"})
            else:
                shard = self.shard_of(entry)
                self.kept.append((shard, entry["Data"]))
                answers.append({"ShardId": shard, "SequenceNumber": str(len(self.kept))})
        return {"FailedRecordCount": len(failing), "Records": answers}


class Time:
    """A clock that moves by what is slept and by a cost per call."""

    def __init__(self) -> None:
        self.at = 1_000.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.slept.append(seconds)
        self.at += max(seconds, 1e-6)

    def clock(self) -> Clock:
        return Clock(now=lambda: self.at, elapsed=lambda: self.at, sleep=self.sleep)


@dataclass
class Sent:
    """What a run came to."""

    ledger: pa.Table
    measures: Measures
    seconds: float

    @property
    def acknowledged(self) -> int:
        return len(self.ledger) - int(self.ledger["shard_id"].null_count)


def make_events(count: int, size: int = 10, *, keys: int = 7) -> list[tuple[bytes, str]]:
    return [(b"{%s}" % str(number).encode().rjust(size - 2, b"."), f"user-{number % keys}") for number in range(count)]


def pace(events: list[tuple[bytes, str]], rate: float | None, chunk: int = 333) -> list[Due]:
    dues = []
    for first in range(0, len(events), chunk):
        part = events[first : first + chunk]
        positions = list(range(first, first + len(part)))
        seconds = [place / rate if rate else 0.0 for place in positions]
        dues.append(Due(Chunk(0, positions, [payload for payload, _ in part], [key for _, key in part]), seconds))
    return dues


class Delivering:
    """One lane over a fake stream; `send` returns what came of it, also after an error."""

    def __init__(self, kinesis: FakeKinesis, folder: Path, *, time: Time | None = None, **settings: Any) -> None:
        self.time = time or Time()
        self.stop = threading.Event()
        self.path = folder / "lane-0.arrows"
        self._ledger = LedgerWriter(self.path)
        self._measures = Measures()
        client = cast("Any", kinesis)
        self.lane = Lane(
            client,
            "listens",
            DeliverySettings(**settings),
            slots=HashSlots(16),
            shards=ShardMap(client, "listens"),
            ledger=self._ledger,
            measures=self._measures,
            rng=np.random.default_rng(1),
            clock=self.time.clock(),
            started=self.time.at,
            stop=self.stop,
        )

    def send(self, events: list[tuple[bytes, str]], rate: float | None = None) -> Sent:
        began = self.time.at
        try:
            with self._ledger:
                self.lane.run(iter(pace(events, rate)))
        finally:
            self.sent = Sent(read_ledger([self.path]), self._measures, self.time.at - began)
        return self.sent


def refuse(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "PutRecords")


def payloads(events: list[tuple[bytes, str]]) -> list[bytes]:
    return [payload for payload, _ in events]


def unpack(kinesis: FakeKinesis) -> list[bytes]:
    return [event for _, data in kinesis.kept for _, event in split_events(data)]
