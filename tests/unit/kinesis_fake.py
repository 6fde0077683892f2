"""A stream held in this process, behind the client's own calls, and a driver and its tasks without Spark."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from streaming_jobs.kinesis_source.client import Fetch, IteratorExpiredError, StreamClient
from streaming_jobs.kinesis_source.offsets import Position, Shard
from streaming_jobs.kinesis_source.options import SourceOptions
from streaming_jobs.kinesis_source.patience import Patience
from streaming_jobs.kinesis_source.reader import KinesisStreamReader

DAY: Final = 86_400.0
ROOT, CHILD_A, CHILD_B = Shard("p", closed=True), Shard("a", ("p",)), Shard("b", ("p",))


@dataclass
class FakeStream:
    """Shards with sequence numbers, which in Kinesis are sparse and of unequal length, and a page size.

    A record arrives `ages[number]` seconds before now, or now. `fetched` counts how often each record crossed the wire.
    """

    page: int = 3
    shards: dict[str, Shard] = field(default_factory=dict)
    numbers: dict[str, list[int]] = field(default_factory=dict)
    ages: dict[int, float] = field(default_factory=dict)
    limits: list[int] = field(default_factory=list)
    fetched: dict[int, int] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    now: float = 1_719_338_400.0
    expires: bool = False
    gap: bool = True

    def add(self, shard: Shard, *numbers: int) -> None:
        self.shards[shard.id] = shard
        self.numbers[shard.id] = list(numbers)

    def close(self, shard: str) -> None:
        self.shards[shard] = Shard(shard, self.shards[shard].parents, closed=True)

    def remove(self, shard: str) -> None:
        del self.shards[shard], self.numbers[shard]

    def arrival(self, number: int) -> int:
        return round((self.now - self.ages.get(number, 0.0)) * 1_000_000)


class FakeClient(StreamClient):
    """The client's calls on a fake stream; iterators are JSON."""

    def __init__(self, stream: FakeStream) -> None:
        self.stream = stream
        self.patience = Patience(1.0, lambda: 0.0, lambda _: None, lambda _: 0.0)

    def list_shards(self) -> list[Shard]:
        return list(self.stream.shards.values())

    def describe(self) -> tuple[float, float]:
        return DAY, self.stream.now

    def open_iterator(self, shard: str, position: Position) -> str:
        after = int(position.after) if position.after else -1
        if position.after is None and position.timestamp is not None:
            late = [one for one in self.stream.numbers[shard] if self.stream.arrival(one) < position.timestamp * 1e6]
            after = max(late, default=-1)
        return json.dumps([shard, after, self.stream.gap])

    def get_records(self, iterator: str, limit: int) -> Fetch:
        shard, after, gap = json.loads(iterator)
        self.stream.calls.append(shard)
        if self.stream.expires and len(self.stream.calls) % 3 == 0:
            raise IteratorExpiredError
        self.stream.limits.append(limit)
        left = [number for number in self.stream.numbers[shard] if number > after]
        # As Kinesis does now and then: an empty answer although records follow.
        page = [] if gap and left and limit > 1 else left[: min(self.stream.page, limit)]
        for number in page:
            self.stream.fetched[number] = self.stream.fetched.get(number, 0) + 1
        left = left[len(page) :]
        is_end = self.stream.shards[shard].closed and not left
        return Fetch(
            data=[f"record {number}".encode() for number in page],
            keys=[f"key {number}" for number in page],
            numbers=[str(number) for number in page],
            arrivals=[self.stream.arrival(number) for number in page],
            millis_behind=3_600_000 if left else 0,
            next_iterator=None if is_end else json.dumps([shard, page[-1] if page else after, False]),
        )


def options(journal: object, **others: Any) -> SourceOptions:
    """Options with nothing to wait for."""
    pace: dict[str, Any] = {"reads_per_second": 0.0, "bytes_per_second": 0.0, "max_fetch_seconds": 0.0}
    return SourceOptions(stream_name="listens", progress_location=str(journal), **(pace | others))


def serve(stream: FakeStream, patch: pytest.MonkeyPatch) -> FakeStream:
    """Let every reader read this stream, by the stream's clock."""
    patch.setattr(KinesisStreamReader, "_client", lambda _self: FakeClient(stream))
    patch.setattr("time.time", lambda: stream.now)
    return stream


def reader(folder: Path, **others: Any) -> KinesisStreamReader:
    """A reader that keeps its journal in this folder."""
    return KinesisStreamReader(options(folder, **others))


def rows(one: KinesisStreamReader, offset: dict[str, Any]) -> dict[str, list[int]]:
    """What the tasks of the batch with this offset read, by shard, where they read anything."""
    found: dict[str, list[int]] = {}
    for part in one.partitions({}, offset):
        for batch in one.read(part):
            for shard, number in zip(batch["shardId"].to_pylist(), batch["sequenceNumber"].to_pylist(), strict=True):
                found.setdefault(shard, []).append(int(number))
    return found


def drain(one: KinesisStreamReader) -> list[dict[str, list[int]]]:
    """Batches until the offset stays what it was, which Spark takes for "nothing new"."""
    batches: list[dict[str, list[int]]] = []
    last = one.initialOffset()
    while (offset := one.latestOffset()) != last:
        assert len(batches) < 200, "the reader never comes to rest"
        batches.append(rows(one, offset))
        last = offset
    return batches
