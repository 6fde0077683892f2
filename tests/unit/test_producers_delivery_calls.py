"""What a lane puts into a record and a call, and the shards that its records go to."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakehouse.events import split_events
from producers.errors import LaneError
from producers.packing import Packer
from producers.slots import HashSlots
from tests.unit.scripted_kinesis import Delivering, FakeKinesis, make_events, payloads, unpack


def test_calls_are_full_where_the_limits_allow(tmp_path: Path) -> None:
    kinesis = FakeKinesis()
    Delivering(kinesis, tmp_path).send(make_events(1_200))
    assert [len(call) for call in kinesis.calls] == [500, 500, 200]
    kinesis = FakeKinesis()
    Delivering(kinesis, tmp_path).send(make_events(7, size=1024 * 1024 - 6))
    assert [len(call) for call in kinesis.calls] == [5, 2]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.integers(2, 1024 * 1024 - 40), max_size=12),
    st.lists(st.integers(2, 3_000), max_size=1_200),
    st.sampled_from([0, 100, 25_000, 1024 * 1000]),
)
def test_limits_hold_for_any_sizes_and_every_event_is_sent_once(
    tmp_path: Path, large: list[int], small: list[int], aggregate: int
) -> None:
    block = b"." * (1024 * 1024)
    events = [(b"{" + block[: size - 2] + b"}", f"k{size % 5}") for size in [*large, *small]]
    # The fake stream checks every limit of PutRecords.
    kinesis = FakeKinesis()
    sent = Delivering(kinesis, tmp_path, aggregate_bytes=aggregate).send(events)
    assert sorted(unpack(kinesis)) == sorted(payloads(events))
    assert sent.ledger["position"].to_pylist() == list(range(len(events)))
    assert sent.acknowledged == sent.measures.totals.acknowledged == len(events)


def test_an_event_no_shard_takes_is_named_after_the_calls_before_it_are_made(tmp_path: Path) -> None:
    kinesis = FakeKinesis()
    events = [*make_events(500), (bytes(1024 * 1024), "k"), *make_events(3)]
    with pytest.raises(LaneError, match="1048577 bytes in the record of event 501"):
        Delivering(kinesis, tmp_path).send(events)
    assert len(kinesis.kept) == 500


def test_aggregates_hold_the_events_of_one_slot_as_lines_and_odd_events_travel_alone() -> None:
    slots = HashSlots(16)
    events = [(b'{"n":%d}' % number, f"user-{number % 40}") for number in range(400)]
    events[7] = (b"", "user-7")
    events[50] = (b'{"n":\n50}', "user-10")
    events[90] = (b'{"cut":', "user-10")
    events[91] = (b'{"n":91}', "user-10")
    entries = Packer(slots, aggregate_bytes=120).pack(
        list(range(400)), payloads(events), [key for _, key in events], [0.0] * 400
    )
    for entry in entries:
        assert len(entry.data) <= 120
        assert {slots.slot_of(events[position][1]) for position in entry.positions} == {entry.slot}
        lines = split_events(entry.data)
        assert [line for _, line in lines] == [events[position][0] for position in entry.positions]
        assert [line for line, _ in lines] == list(range(1, len(lines) + 1))
    assert {tuple(entry.positions) for entry in entries} >= {(7,), (50,), (90,)}
    by_slot: dict[int, list[int]] = {}
    for entry in entries:
        by_slot.setdefault(entry.slot, []).extend(entry.positions)
    assert all(positions == sorted(positions) for positions in by_slot.values())
    assert len(entries) < 100


@pytest.mark.parametrize("shards", [1, 2, 4, 16])
def test_an_aggregate_goes_to_the_shard_that_its_keys_would_go_to(shards: int) -> None:
    slots = HashSlots.for_shards(shards)
    width = (1 << 128) // shards
    for number in range(500):
        key = f"user-{number}"
        hashed = int.from_bytes(hashlib.md5(key.encode(), usedforsecurity=False).digest())
        assert hashed // width == slots.middle(slots.slot_of(key)) // width


def test_the_shard_map_is_read_again_when_an_answer_names_another_shard(tmp_path: Path) -> None:
    kinesis = FakeKinesis()
    run = Delivering(kinesis, tmp_path)
    kinesis.shards = {"shardId-3": 0, "shardId-4": 1 << 126, "shardId-1": 1 << 127}
    run.send(make_events(100, keys=60))
    assert run.lane._shards.shard_ids == ("shardId-3", "shardId-4", "shardId-1")
