"""Splits, merges, trimming and expiry against an emulator that knows them: each record once, in its key's order.

The source runs as on Spark, driver and tasks, but in this process and without a JVM.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from streaming_jobs.kinesis_source import DataLossError, progress_of
from streaming_jobs.kinesis_source.client import StreamClient
from streaming_jobs.kinesis_source.offsets import Position
from streaming_jobs.kinesis_source.options import SourceOptions
from streaming_jobs.kinesis_source.reader import KinesisStreamReader
from tests.integration.resharding_emulator import Emulator, running_emulator

KEYS = 24
RING = 2**128
DAY = 86_400.0


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One emulator for all tests here, with the keys that it takes."""
    with pytest.MonkeyPatch.context() as patch, running_emulator(tmp_path_factory.mktemp("emulator")) as running:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        yield running


@dataclass
class Query:
    """A stream, what was sent to it, and a query that reads it, stops and starts again."""

    emulator: Emulator
    stream: str
    folder: Path
    options: dict[str, Any] = field(default_factory=dict)
    sent: int = 0
    found: list[tuple[str, str, int]] = field(default_factory=list)
    _reader: KinesisStreamReader | None = None
    _offset: dict[str, Any] | None = None

    def send(self, count: int) -> dict[str, str]:
        """Send numbered records, over all keys in turn, and return the last sequence number of each shard."""
        last: dict[str, str] = {}
        for number in range(self.sent, self.sent + count):
            answer = self.emulator.kinesis.put_record(
                StreamName=self.stream, Data=str(number).encode(), PartitionKey=f"key {number % KEYS}"
            )
            last[answer["ShardId"]] = answer["SequenceNumber"]
        self.sent += count
        return last

    def open_shards(self) -> list[tuple[int, int, str]]:
        """Return hash range and id of each open shard, in the ring's order."""
        listed = self.emulator.kinesis.list_shards(StreamName=self.stream)["Shards"]
        return sorted(
            (
                int(shard["HashKeyRange"]["StartingHashKey"]),
                int(shard["HashKeyRange"]["EndingHashKey"]),
                shard["ShardId"],
            )
            for shard in listed
            if "EndingSequenceNumber" not in shard["SequenceNumberRange"]
        )

    def split(self, place: int = 0) -> None:
        """Split the shard at this place of the ring in the middle."""
        first, last, shard = self.open_shards()[place]
        middle = str((first + last) // 2 + 1)
        self.emulator.kinesis.split_shard(StreamName=self.stream, ShardToSplit=shard, NewStartingHashKey=middle)
        self.emulator.wait_until_active(self.stream)

    def merge(self, place: int = 0) -> None:
        """Merge the shard at this place of the ring with the next one."""
        (_, _, one), (_, _, other) = self.open_shards()[place : place + 2]
        self.emulator.kinesis.merge_shards(StreamName=self.stream, ShardToMerge=one, AdjacentShardToMerge=other)
        self.emulator.wait_until_active(self.stream)

    def start(self, **others: Any) -> None:
        """Start the query, or start it again from its checkpoint."""
        given = {"max_records_per_shard": 7, "max_tasks": 2, "reads_per_second": 0.0} | self.options | others
        place: dict[str, Any] = {"stream_name": self.stream, "progress_location": f"file:{self.folder}"}
        place |= {"region": "us-east-1", "endpoint_url": self.emulator.url}
        self._reader = KinesisStreamReader(SourceOptions(**(place | given)))
        if self._offset is None:
            self._offset = self._reader.initialOffset()
        else:
            assert self._reader.partitions(self._offset, self._offset) == []

    def batch(self) -> bool:
        """Run one micro-batch; False when there was nothing new."""
        assert self._reader is not None
        assert self._offset is not None
        offset = self._reader.latestOffset()
        if offset == self._offset:
            return False
        rows = [
            (row["shardId"], row["partitionKey"], int(row["data"]))
            for part in self._reader.partitions(self._offset, offset)
            for batch in self._reader.read(part)
            for row in batch.to_pylist()
        ]
        self._offset = offset
        self.found += rows
        return True

    def catch_up(self) -> None:
        """Run micro-batches until there is nothing new."""
        for _ in range(200):
            if not self.batch():
                return
        raise AssertionError("the query never comes to rest")

    @property
    def offset(self) -> dict[str, Any]:
        """The checkpoint."""
        assert self._offset is not None
        return self._offset

    def require_each_once_in_order(self) -> None:
        """Compare what was read with what was sent."""
        assert sorted(number for _, _, number in self.found) == list(range(self.sent))
        for key in range(KEYS):
            numbers = [number for _, name, number in self.found if name == f"key {key}"]
            assert numbers == list(range(key, self.sent, KEYS)), f"key {key} is out of order"


@pytest.fixture
def query(emulator: Emulator, tmp_path: Path) -> Iterator[Query]:
    """A query on a stream of two shards, not yet started."""
    emulator.put_clock_forward(0)
    stream = f"t-{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:10]}"
    emulator.kinesis.create_stream(StreamName=stream, ShardCount=2)
    emulator.wait_until_active(stream)
    yield Query(emulator, stream, tmp_path)
    emulator.put_clock_forward(0)
    emulator.kinesis.delete_stream(StreamName=stream)


def test_the_emulator_listens_on_the_loopback_alone(emulator: Emulator) -> None:
    connections: list[Any] = psutil.net_connections("tcp")
    listening = [one for one in connections if one.status == psutil.CONN_LISTEN]
    [owner] = {one.pid for one in listening if one.laddr.port == int(emulator.url.rpartition(":")[2])}
    assert {one.laddr.ip for one in listening if one.pid == owner} == {"127.0.0.1"}


def test_split_and_merge_under_a_running_query(query: Query) -> None:
    query.send(60)
    query.start()
    query.batch()
    query.split(0)
    query.send(60)
    query.batch()
    query.merge(1)
    query.send(60)
    query.catch_up()
    query.require_each_once_in_order()
    assert len({shard for shard, _, _ in query.found}) == 5


def test_split_and_merge_while_stopped(query: Query) -> None:
    query.send(60)
    query.start()
    query.batch()
    query.split(0)
    query.send(50)
    query.split(2)
    query.merge(1)
    query.send(50)
    query.merge(0)
    query.send(50)
    query.start()
    query.catch_up()
    query.require_each_once_in_order()


def test_a_query_that_starts_after_the_resharding_reads_all_of_it(query: Query) -> None:
    query.send(40)
    query.split(1)
    query.send(40)
    query.merge(0)
    query.send(40)
    query.start()
    query.catch_up()
    query.require_each_once_in_order()


@pytest.mark.parametrize("seed", range(4))
def test_any_order_of_sends_reshards_reads_and_restarts(query: Query, seed: int) -> None:
    rng = random.Random(seed)
    query.start(max_records_per_shard=rng.choice([3, 10, 100]))
    for _ in range(40):
        shards = len(query.open_shards())
        action = rng.choices(["send", "batch", "restart", "split", "merge"], [5, 5, 3, 1, 1])[0]
        if action == "send":
            query.send(rng.randint(1, 30))
        elif action == "batch":
            query.batch()
        elif action == "restart":
            query.start(max_tasks=rng.choice([0, 1, 3]))
        elif action == "split" and shards < 6:
            query.split(rng.randrange(shards))
        elif action == "merge" and shards > 1:
            query.merge(rng.randrange(shards - 1))
    query.start()
    query.catch_up()
    query.require_each_once_in_order()


def test_iterators_that_expire_between_and_within_batches(query: Query, monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = 0.0

    class Aging(StreamClient):
        def get_records(self, iterator: str, limit: int) -> Any:
            nonlocal ahead
            answer = super().get_records(iterator, min(limit, 5))
            # Each iterator is six minutes old when it is used.
            ahead += 360
            query.emulator.put_clock_forward(ahead)
            return answer

    query.send(40)
    query.start()
    monkeypatch.setattr(KinesisStreamReader, "_client", lambda self: Aging(self._options))
    monkeypatch.setattr("streaming_jobs.kinesis_source.reading.time.time", lambda: 2e9)
    query.catch_up()
    query.send(20)
    query.catch_up()
    query.require_each_once_in_order()
    assert ahead > 10 * 360


@pytest.fixture
def trimmed(query: Query, monkeypatch: pytest.MonkeyPatch) -> Query:
    """A query that has read 48 records, was away for two days, and missed 24 that are gone; another 24 are there.

    The emulator keeps records for ever. So iterators are handed out here as Kinesis does once records are gone: without
    a word, at the oldest that is left.
    """
    query.send(48)
    query.start(max_records_per_shard=100)
    query.catch_up()
    gone = query.send(24)

    class Trimmed(StreamClient):
        def open_iterator(self, shard: str, position: Position) -> str:
            is_gone = position.after is None or int(position.after) < int(gone[shard])
            return super().open_iterator(shard, Position(after=gone[shard]) if is_gone else position)

    monkeypatch.setattr(KinesisStreamReader, "_client", lambda self: Trimmed(self._options))
    now = time.time
    monkeypatch.setattr("streaming_jobs.kinesis_source.reading.time.time", lambda: now() + 2 * DAY)
    query.emulator.put_clock_forward(2 * DAY)
    query.send(24)
    return query


def test_records_trimmed_inside_a_living_shard_fail_the_query(trimmed: Query) -> None:
    trimmed.start()
    with pytest.raises(DataLossError, match=r"every record of shard shardId-\d+ after \d+ .* hours\) was trimmed"):
        trimmed.catch_up()


def test_trimmed_records_can_be_counted_instead(trimmed: Query) -> None:
    trimmed.start(fail_on_data_loss=False, max_records_per_shard=100)
    trimmed.batch()
    progress = progress_of(f"file:{trimmed.folder}", trimmed.offset)
    assert progress.losses == 2, "each of the two shards lost something"
    assert progress.records == 24
    trimmed.catch_up()
    assert sorted(number for _, _, number in trimmed.found) == [*range(48), *range(72, 96)]
