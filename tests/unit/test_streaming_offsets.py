"""Where a query stands in a stream: positions, batches and their replay, against a stream held in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final, cast

import boto3
import pytest
from botocore.stub import Stubber
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.errors import SettingsError
from streaming_jobs.kinesis_source import KinesisSource, client
from streaming_jobs.kinesis_source.client import Fetch, StreamClient
from streaming_jobs.kinesis_source.offsets import (
    Position,
    Shard,
    decode,
    encode,
    first_positions,
    vanished,
    with_ready_children,
    without_finished_ancestors,
)
from streaming_jobs.kinesis_source.source import DataLossError, KinesisStreamReader, ShardRange

ARRIVED: Final = datetime(2024, 6, 25, 18, 0, 0, 123_456, tzinfo=UTC)
ROOT, CHILD_A, CHILD_B = Shard("p", closed=True), Shard("a", ("p",)), Shard("b", ("p",))
LEFT, RIGHT, MERGED = Shard("l", closed=True), Shard("r", closed=True), Shard("m", ("l", "r"))
START: Final = Position()
END: Final = Position(after="9", ended=True)


# -- positions --------------------------------------------------------------------------------------------------------


def test_trim_horizon_starts_with_the_oldest_shards() -> None:
    assert first_positions([CHILD_A, ROOT, CHILD_B], start="TRIM_HORIZON", timestamp=None) == {"p": START}


def test_trim_horizon_starts_with_children_whose_parents_are_gone() -> None:
    assert set(first_positions([CHILD_A, CHILD_B], start="TRIM_HORIZON", timestamp=None)) == {"a", "b"}


def test_latest_starts_with_the_open_shards() -> None:
    found = first_positions([ROOT, CHILD_A, CHILD_B], start="AT_TIMESTAMP", timestamp=5.0)
    here = Position("AT_TIMESTAMP", 5.0)
    assert found == {"a": here, "b": here}


@pytest.mark.parametrize(
    ("positions", "shards", "children"),
    [
        ({"p": START}, [ROOT, CHILD_A, CHILD_B], set()),
        ({"p": END}, [ROOT, CHILD_A, CHILD_B], {"a", "b"}),
        ({"l": END, "r": START}, [LEFT, RIGHT, MERGED], set()),
        ({"l": START, "r": END}, [LEFT, RIGHT, MERGED], set()),
        ({"l": END, "r": END}, [LEFT, RIGHT, MERGED], {"m"}),
        # The query started after the left half was gone, so it never met it.
        ({"r": END}, [RIGHT, MERGED], {"m"}),
        # A shard of which nothing was met belongs to another family, or the query started with LATEST behind it.
        ({"x": START}, [Shard("x"), LEFT, RIGHT, MERGED], set()),
    ],
)
def test_parents_come_before_children(positions: dict[str, Position], shards: list[Shard], children: set[str]) -> None:
    found = with_ready_children(positions, shards)
    assert set(found) - set(positions) == children
    assert all(found[child] == START for child in children)
    assert {shard: found[shard] for shard in positions} == positions


def test_a_child_that_is_being_read_keeps_its_place() -> None:
    positions = {"p": END, "a": Position(after="12")}
    assert with_ready_children(positions, [ROOT, CHILD_A, CHILD_B]) == {**positions, "b": START}


def test_what_is_forgotten_and_what_is_lost() -> None:
    positions = {"gone and read": END, "gone unread": Position(after="1"), "listed": START, "listed and read": END}
    shards = [Shard("listed"), Shard("listed and read", closed=True)]
    assert set(without_finished_ancestors(positions, shards)) == {"gone unread", "listed", "listed and read"}
    assert vanished(positions, shards) == ["gone unread"]


places = st.builds(
    Position,
    start=st.sampled_from(["TRIM_HORIZON", "AT_TIMESTAMP"]),
    timestamp=st.none() | st.floats(0, 2e9),
    after=st.none() | st.integers(0, 10**56).map(str),
    ended=st.booleans(),
)
positions = st.dictionaries(st.text(min_size=1, max_size=20), places, max_size=5)


@given(before=positions, until=positions)
def test_offsets_round_trip(before: dict[str, Position], until: dict[str, Position]) -> None:
    assert decode(json.loads(json.dumps(encode(before, until)))) == (before, until)


# -- the reader -------------------------------------------------------------------------------------------------------


@dataclass
class FakeStream:
    """A stream: shards with sequence numbers and a page size. Kinesis numbers are sparse, and of unequal length."""

    shards: dict[str, Shard] = field(default_factory=dict)
    numbers: dict[str, list[int]] = field(default_factory=dict)
    page: int = 3
    limits: list[int] = field(default_factory=list)

    def add(self, shard: Shard, *numbers: int) -> None:
        self.shards[shard.id] = shard
        self.numbers[shard.id] = list(numbers)

    def close(self, shard: str) -> None:
        self.shards[shard] = Shard(shard, self.shards[shard].parents, closed=True)

    def remove(self, shard: str) -> None:
        del self.shards[shard], self.numbers[shard]

    def list_shards(self) -> list[Shard]:
        return list(self.shards.values())

    def fetch(self, shard: str, position: Position, *, limit: int = 10_000) -> Iterator[Fetch]:
        self.limits.append(limit)
        begin = int(position.after) if position.after else -1
        left = [number for number in self.numbers[shard] if number > begin]
        size = min(self.page, limit)
        if left:  # as Kinesis does now and then: an empty answer although records follow
            yield Fetch([], millis_behind=1, closed=False)
        while left:
            now, left = left[:size], left[size:]
            closed = self.shards[shard].closed and not left
            yield Fetch([record(number) for number in now], millis_behind=len(left), closed=closed)
            if closed:
                return
        closed = self.shards[shard].closed
        yield Fetch([], millis_behind=0, closed=closed)


def record(number: int) -> Any:
    return {
        "Data": f"record {number}".encode(),
        "PartitionKey": f"key {number}",
        "SequenceNumber": str(number),
        "ApproximateArrivalTimestamp": ARRIVED,
    }


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> FakeStream:
    fake = FakeStream()
    monkeypatch.setattr(KinesisStreamReader, "_client", lambda _self: cast("StreamClient", fake))
    return fake


def reader(**options: str) -> KinesisStreamReader:
    return KinesisStreamReader({"streamname": "listens", **options})


def rows(one: KinesisStreamReader, offset: dict[str, Any]) -> dict[str, list[int]]:
    """What the tasks of the batch with this offset read, by shard."""
    found: dict[str, list[int]] = {}
    for part in one.partitions({}, offset):
        numbers = [int(number) for batch in one.read(part) for number in batch.column("sequenceNumber").to_pylist()]
        found[part.shard] = numbers
    return found


def drain(one: KinesisStreamReader) -> list[dict[str, list[int]]]:
    """Batches until the offset stays what it was, which Spark takes for "nothing new"."""
    batches: list[dict[str, list[int]]] = []
    last: dict[str, Any] | None = None
    while (offset := one.latestOffset()) != last:
        assert len(batches) < 100, "the reader never comes to rest"
        batches.append(rows(one, offset))
        last = offset
    return batches


def test_batches_hold_every_record_once_up_to_the_cap(stream: FakeStream) -> None:
    stream.add(Shard("a"), *range(5, 105, 5))
    stream.add(Shard("b"), 9, 10, 11)
    one = reader(maxrecordspershard="7")
    batches = [rows(one, one.latestOffset()) for _ in range(3)]
    sizes = [len(batch["a"]) for batch in batches]
    # A page that is under way when the cap is reached is still taken whole; a page is never larger than the cap.
    assert all(7 <= size < 7 + stream.page for size in sizes[:2])
    assert [number for batch in batches for number in batch["a"]] == list(range(5, 105, 5))
    assert [number for batch in batches for number in batch.get("b", [])] == [9, 10, 11]
    assert set(stream.limits) <= {7, 10_000}


def test_nothing_new_is_the_same_offset(stream: FakeStream) -> None:
    stream.add(Shard("a"), 1)
    one = reader()
    offset = one.latestOffset()
    assert one.latestOffset() is offset
    stream.numbers["a"].append(2)
    assert rows(one, one.latestOffset()) == {"a": [2]}


def test_an_empty_stream_has_an_empty_batch(stream: FakeStream) -> None:
    stream.add(Shard("a"))
    one = reader()
    assert one.initialOffset() == encode({"a": START}, {"a": START})
    assert rows(one, one.latestOffset()) == {}


def test_a_replay_after_a_restart_reads_exactly_the_logged_range(stream: FakeStream) -> None:
    stream.add(Shard("a"), 8, 9, 10, 11)
    stream.add(Shard("b"), 99, 100)
    first = reader()
    rows(first, first.latestOffset())
    stream.numbers["a"] += [12, 13]
    offset = first.latestOffset()
    expected = rows(first, offset)
    assert expected == {"a": [12, 13]}
    # The query dies. More arrives, and the shard is split, before it is back.
    stream.numbers["a"] += [14]
    stream.numbers["b"] += [101]
    stream.close("a")
    stream.add(Shard("c", ("a",)), 200)
    second = reader()
    assert rows(second, offset) == expected
    later = [rows(second, second.latestOffset()) for _ in range(2)]
    assert later == [{"a": [14], "b": [101]}, {"c": [200]}]


def test_children_wait_for_their_parent_also_when_the_split_came_while_stopped(stream: FakeStream) -> None:
    stream.add(Shard("p"), 1, 2)
    first = reader()
    offset = first.latestOffset()
    stream.numbers["p"] += [3, 4, 5, 6, 7]
    stream.close("p")
    stream.add(CHILD_A, 8)
    stream.add(CHILD_B, 9)
    second = reader(maxrecordspershard="3")
    second.partitions({}, offset)
    batches = drain(second)
    flat = [(shard, number) for batch in batches for shard, numbers in batch.items() for number in numbers]
    assert sorted(flat) == [("a", 8), ("b", 9), ("p", 3), ("p", 4), ("p", 5), ("p", 6), ("p", 7)]
    assert all(not ("p" in batch and {"a", "b"} & set(batch)) for batch in batches)


def test_a_merged_shard_waits_for_both_parents(stream: FakeStream) -> None:
    stream.add(LEFT, 1)
    stream.add(RIGHT, *range(2, 22))
    stream.add(MERGED, 30)
    one = reader(maxrecordspershard="6")
    batches = drain(one)
    assert [number for batch in batches for number in batch.get("r", [])] == list(range(2, 22))
    last = [batch for batch in batches if batch][-1]
    assert last == {"m": [30]}


def test_a_closed_shard_without_records_ends_at_once(stream: FakeStream) -> None:
    stream.add(ROOT)
    stream.add(CHILD_A, 5)
    one = reader()
    assert rows(one, one.latestOffset()) == {}
    assert rows(one, one.latestOffset()) == {"a": [5]}


def test_a_forgotten_parent_is_no_loss(stream: FakeStream) -> None:
    stream.add(ROOT, 1)
    stream.add(CHILD_A, 5)
    one = reader()
    rows(one, one.latestOffset())
    rows(one, one.latestOffset())
    stream.remove("p")
    stream.numbers["a"].append(6)
    assert rows(one, one.latestOffset()) == {"a": [6]}


def test_a_vanished_shard_is_data_loss(stream: FakeStream) -> None:
    stream.add(Shard("a"), 1)
    stream.add(Shard("b"), 2)
    one = reader()
    offset = one.latestOffset()
    stream.remove("a")
    with pytest.raises(DataLossError, match=r"expected shards a of listens.*failOnDataLoss=false"):
        one.latestOffset()
    stream.numbers["b"].append(3)
    careless = reader(failondataloss="false")
    careless.partitions({}, offset)
    assert rows(careless, careless.latestOffset()) == {"b": [3]}


def test_a_range_that_was_trimmed_is_data_loss(stream: FakeStream) -> None:
    stream.add(Shard("a"), 1, 2, 3)
    one = reader()
    [part] = one.partitions({}, one.latestOffset())
    stream.numbers["a"] = [1]
    with pytest.raises(DataLossError, match="record 3 of shard a"):
        list(one.read(part))


def test_records_come_with_their_place(stream: FakeStream) -> None:
    stream.add(Shard("a"), 7)
    [batch] = reader().read(ShardRange("a", START, "7"))
    assert batch.to_pylist() == [
        {
            "data": b"record 7",
            "streamName": "listens",
            "shardId": "a",
            "partitionKey": "key 7",
            "sequenceNumber": "7",
            "approximateArrivalTimestamp": ARRIVED,
        }
    ]


def test_latest_is_a_moment_that_can_be_replayed(stream: FakeStream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1_719_338_400.25)
    stream.add(ROOT, 1)
    stream.add(CHILD_A, 2)
    before, until = decode(reader(startingposition="latest").initialOffset())
    assert before == until == {"a": Position("AT_TIMESTAMP", 1_719_338_400.25)}


def test_wrong_options_are_named() -> None:
    with pytest.raises(SettingsError, match="SOMEWHERE"):
        reader(startingposition="somewhere")
    with pytest.raises(SettingsError, match="option streamName"):
        KinesisSource({}).streamReader(cast("Any", None))


# -- the client -------------------------------------------------------------------------------------------------------


@pytest.fixture
def kinesis(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stubber]:
    real = boto3.client(
        "kinesis", region_name="eu-west-1", aws_access_key_id="testing", aws_secret_access_key="testing"
    )
    monkeypatch.setattr(client, "_client", lambda _region, _endpoint: real)
    with Stubber(real) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def answer(*numbers: int, following: str | None, behind: int = 0) -> dict[str, Any]:
    told = {"Records": [record(number) for number in numbers], "MillisBehindLatest": behind}
    return told | ({"NextShardIterator": following} if following else {})


def expect_iterator(stub: Stubber, name: str, **where: Any) -> None:
    wanted = {"StreamName": "listens", "ShardId": "a", **where}
    stub.add_response("get_shard_iterator", {"ShardIterator": name}, wanted)


def connect() -> StreamClient:
    return StreamClient("listens", region=None, endpoint=None)


def test_shards_are_listed_over_pages_with_both_parents(kinesis: Stubber) -> None:
    open_range, closed_range = (
        {"StartingSequenceNumber": "1"},
        {"StartingSequenceNumber": "1", "EndingSequenceNumber": "9"},
    )
    keys = {"StartingHashKey": "0", "EndingHashKey": "1"}
    halves = [{"ShardId": name, "HashKeyRange": keys, "SequenceNumberRange": closed_range} for name in ("l", "r")]
    merged = {
        "ShardId": "m",
        "HashKeyRange": keys,
        "SequenceNumberRange": open_range,
        "ParentShardId": "l",
        "AdjacentParentShardId": "r",
    }
    kinesis.add_response("list_shards", {"Shards": halves, "NextToken": "more"}, {"StreamName": "listens"})
    kinesis.add_response("list_shards", {"Shards": [merged]})
    assert connect().list_shards() == [LEFT, RIGHT, MERGED]


def test_an_expired_iterator_is_renewed_after_the_last_record(kinesis: Stubber) -> None:
    expect_iterator(kinesis, "i1", ShardIteratorType="TRIM_HORIZON")
    kinesis.add_response("get_records", answer(1, 2, following="i2", behind=9), {"ShardIterator": "i1", "Limit": 10})
    kinesis.add_client_error("get_records", "ExpiredIteratorException", http_status_code=400)
    expect_iterator(kinesis, "i3", ShardIteratorType="AFTER_SEQUENCE_NUMBER", StartingSequenceNumber="2")
    kinesis.add_response("get_records", answer(3, following=None), {"ShardIterator": "i3", "Limit": 10})
    found = list(connect().fetch("a", START, limit=10))
    assert [[one["SequenceNumber"] for one in fetch.records] for fetch in found] == [["1", "2"], ["3"]]
    assert [(fetch.millis_behind, fetch.closed) for fetch in found] == [(9, False), (0, True)]


def test_an_iterator_that_expires_before_its_first_record_starts_where_it_began(kinesis: Stubber) -> None:
    moment = {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": 5.0}
    expect_iterator(kinesis, "i1", **moment)
    kinesis.add_client_error("get_records", "ExpiredIteratorException", http_status_code=400)
    expect_iterator(kinesis, "i2", **moment)
    kinesis.add_response("get_records", answer(following=None))
    assert [fetch.closed for fetch in connect().fetch("a", Position("AT_TIMESTAMP", 5.0))] == [True]


# -- any stream at all ------------------------------------------------------------------------------------------------


@given(
    numbers=st.sets(st.integers(0, 10**6), max_size=40).map(sorted),
    arrivals=st.lists(st.integers(0, 40), max_size=4).map(sorted),
    cap=st.integers(1, 12),
    page=st.integers(1, 9),
    restarts=st.booleans(),
)
def test_every_record_is_read_once_however_it_arrives(
    numbers: list[int], arrivals: list[int], cap: int, page: int, restarts: bool
) -> None:
    fake = FakeStream(page=page)
    fake.add(Shard("a"))
    seen: list[int] = []
    last: dict[str, Any] | None = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KinesisStreamReader, "_client", lambda _self: cast("StreamClient", fake))
        one = reader(maxrecordspershard=str(cap))
        for until in [*arrivals, len(numbers)]:
            fake.numbers["a"] = numbers[: max(until, len(fake.numbers["a"]))]
            for _ in range(100):
                offset = one.latestOffset()
                if offset == last:
                    break
                last, batch = offset, rows(one, offset)
                seen += batch.get("a", [])
                if restarts:
                    one = reader(maxrecordspershard=str(cap))
                    assert rows(one, offset) == batch
    assert seen == numbers
    assert all(before < after for before, after in pairwise(seen))
