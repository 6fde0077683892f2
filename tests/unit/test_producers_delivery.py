"""Lanes against a scripted Kinesis that keeps what it acknowledged and refuses what real Kinesis refuses."""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakehouse.events import split_events
from producers.errors import LaneError
from producers.intake import Due
from producers.lanes import Lane
from producers.ledger import LEDGER, LedgerWriter, read_ledger
from producers.packing import Entry, Packer
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


def test_calls_are_full_where_the_limits_allow(tmp_path: Path) -> None:
    kinesis = FakeKinesis()
    Delivering(kinesis, tmp_path).send(make_events(1_200))
    assert [len(call) for call in kinesis.calls] == [500, 500, 200]
    kinesis = FakeKinesis()
    Delivering(kinesis, tmp_path).send(make_events(7, size=1024 * 1024 - 6))
    assert [len(call) for call in kinesis.calls] == [5, 2]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


def test_only_failed_records_are_sent_again_and_before_anything_newer_of_their_shard(tmp_path: Path) -> None:
    kinesis = FakeKinesis(lambda call, _entries: {1: {3, 499}, 2: {0}}.get(call, set()))
    events = make_events(501, keys=1)
    run = Delivering(kinesis, tmp_path)
    sent = run.send(events)
    told = payloads(events)
    assert kinesis.calls == [told[:500], [told[3], told[499], told[500]], [told[3]]]
    assert sent.measures.totals.retried == {"ProvisionedThroughputExceededException": 3}
    assert sent.acknowledged == 501
    assert sorted(data for _, data in kinesis.kept) == sorted(told)
    tries = dict(zip(sent.ledger["position"].to_pylist(), sent.ledger["tries"].to_pylist(), strict=True))
    assert sum(tries.values()) == 501 + 3
    assert tries[3] > 1


def test_a_throttled_shard_does_not_hold_up_the_others(tmp_path: Path) -> None:
    def throttle(call: int, entries: list[dict[str, Any]]) -> set[int]:
        return {place for place, entry in enumerate(entries) if kinesis.shard_of(entry) == "shardId-0" and call < 20}

    kinesis = FakeKinesis(throttle)
    events = make_events(3_000, keys=50)
    Delivering(kinesis, tmp_path, first_backoff_s=5.0).send(events)
    shards = [shard for shard, _ in kinesis.kept]
    first_of_throttled = shards.index("shardId-0")
    assert first_of_throttled == shards.count("shardId-1")
    assert sorted(payloads(events)) == sorted(data for _, data in kinesis.kept)


@pytest.mark.parametrize("aggregate", [0, 500])
def test_the_events_of_a_key_arrive_in_order_when_whole_calls_fail(tmp_path: Path, aggregate: int) -> None:
    def script(call: int, _entries: list[dict[str, Any]]) -> set[int]:
        if call % 3 == 0:
            raise refuse("ThrottlingException")
        if call == 4:
            kinesis.shards["shardId-2"] = 1 << 126  # a shard is split while the test runs
        return set()

    kinesis = FakeKinesis(script)
    events = make_events(4_000, size=40, keys=20)
    run = Delivering(kinesis, tmp_path, aggregate_bytes=aggregate)
    run.send(events, rate=5_000)
    arrived = unpack(kinesis)
    key_of = dict(events)
    for key in {key for _, key in events}:
        assert [event for event in arrived if key_of[event] == key] == [event for event, k in events if k == key]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.one_of(st.none(), st.sets(st.integers(0, 499))), max_size=8),
    st.integers(0, 1_300),
    st.sampled_from([0, 200]),
)
def test_sent_is_acknowledged_plus_failed(
    tmp_path: Path, failing: list[set[int] | None], count: int, aggregate: int
) -> None:
    def script(call: int, entries: list[dict[str, Any]]) -> set[int]:
        places = failing[(call - 1) % len(failing)] if failing else set()
        if places is None:
            raise EndpointConnectionError(endpoint_url="http://x")
        return {place for place in places if place < len(entries)}

    kinesis = FakeKinesis(script)
    events = make_events(count, size=20)
    run = Delivering(kinesis, tmp_path, retry_for_s=2.0, aggregate_bytes=aggregate)
    with suppress(LaneError):
        run.send(events)
    sent, ledger, totals = run.sent, run.sent.ledger, run.sent.measures.totals
    kept = unpack(kinesis)
    assert sent.acknowledged == totals.acknowledged == len(kept) == len(set(kept))
    assert ledger["shard_id"].is_null().equals(ledger["sequence_number"].is_null())
    columns = [ledger[name].to_pylist() for name in ("position", "shard_id", "sequence_number", "line")]
    for position, shard, number, line in zip(*columns, strict=True):
        if number is None:
            assert events[position][0] not in kept
        else:
            where, data = kinesis.kept[int(number) - 1]
            assert (where, dict(split_events(data))[line]) == (shard, events[position][0])
    # Every try is accounted for: it was acknowledged or refused, and refused ones were sent again or given up.
    assert sum(ledger["tries"].to_pylist()) == totals.acknowledged + totals.refused.total()
    assert totals.refused.total() == sum(totals.retried.values()) + totals.given_up.total()
    if len(ledger) > sent.acknowledged:
        assert totals.given_up.total() <= len(ledger) - sent.acknowledged


def test_backoff_doubles_with_full_jitter_and_ends_with_the_budget(tmp_path: Path) -> None:
    kinesis = FakeKinesis(lambda _call, entries: set(range(len(entries))))
    run = Delivering(kinesis, tmp_path, retry_for_s=30.0, first_backoff_s=1.0, longest_backoff_s=4.0, linger_s=0.0)
    with pytest.raises(LaneError, match=r"within 30 s of its first call; found \d+ records still failing with Prov"):
        run.send(make_events(1))
    assert run.sent.acknowledged == 0
    assert len(run.sent.ledger) == 1
    assert 30 <= run.sent.seconds < 35
    assert 10 <= len(kinesis.calls) <= 40


@pytest.mark.parametrize(
    "error", [refuse("ProvisionedThroughputExceededException"), EndpointConnectionError(endpoint_url="http://x")]
)
def test_a_call_that_fails_as_a_whole_is_made_again(tmp_path: Path, error: Exception) -> None:
    def script(call: int, _entries: list[dict[str, Any]]) -> set[int]:
        if call == 1:
            raise error
        return set()

    kinesis = FakeKinesis(script)
    sent = Delivering(kinesis, tmp_path).send(make_events(3, keys=1))
    assert kinesis.calls[0] == kinesis.calls[1]
    assert sent.acknowledged == sum(sent.measures.totals.retried.values()) == 3
    unanswered = not isinstance(error, ClientError)
    assert sent.ledger["unanswered"].to_pylist() == [int(unanswered)] * 3
    assert sent.measures.totals.unanswered == int(unanswered)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("ResourceNotFoundException", "expected the Kinesis stream 'listens'; found no stream of that name"),
        ("AccessDeniedException", "found the refusal AccessDeniedException"),
    ],
)
def test_a_refusal_ends_delivery_with_its_account(tmp_path: Path, code: str, message: str) -> None:
    def script(call: int, _entries: list[dict[str, Any]]) -> set[int]:
        if call == 2:
            raise refuse(code)
        return set()

    run = Delivering(FakeKinesis(script), tmp_path)
    with pytest.raises(LaneError, match=message):
        run.send(make_events(1_200))
    assert (run.sent.acknowledged, len(run.sent.ledger)) == (500, 1_000)


def test_an_event_no_shard_takes_is_named_after_the_calls_before_it_are_made(tmp_path: Path) -> None:
    kinesis = FakeKinesis()
    events = [*make_events(500), (bytes(1024 * 1024), "k"), *make_events(3)]
    with pytest.raises(LaneError, match="1048577 bytes in the record of event 501"):
        Delivering(kinesis, tmp_path).send(events)
    assert len(kinesis.kept) == 500


def test_the_rate_is_held_and_not_exceeded(tmp_path: Path) -> None:
    time = Time()
    marks: list[tuple[float, int]] = []
    kinesis = FakeKinesis(lambda _call, entries: marks.append((time.at - 1_000.0, len(entries))) or set())  # type: ignore[func-returns-value]
    sent = Delivering(kinesis, tmp_path, time=time).send(make_events(3_000), rate=1_234.0)
    assert sent.seconds == pytest.approx(3_000 / 1_234, rel=0.03)
    for (at, _), total in zip(marks, itertools.accumulate(size for _, size in marks), strict=True):
        assert total <= at * 1_234 + 1


def test_falling_behind_is_measured_and_not_made_up_by_waiting(tmp_path: Path) -> None:
    time = Time()

    def slow(_call: int, _entries: list[dict[str, Any]]) -> set[int]:
        time.at += 1.0
        return set()

    kinesis = FakeKinesis(slow)
    sent = Delivering(kinesis, tmp_path, time=time).send(make_events(5_000), rate=1_000.0)
    assert sent.acknowledged == 5_000
    # Delays are counted from the moment an event was due, not from the moment it was sent.
    assert sent.measures.delay.maximum == pytest.approx(sent.seconds - 4.5, abs=0.6)
    assert max(len(call) for call in kinesis.calls) == 500


@pytest.mark.parametrize(("rate", "count"), [(1_234.0, 1_235), (3.0, 4), (None, 5_000)])
def test_the_duration_ends_delivery_with_all_that_was_due(tmp_path: Path, rate: float | None, count: int) -> None:
    time = Time()

    def a_tenth(_call: int, _entries: list[dict[str, Any]]) -> set[int]:
        time.at += 0.1 if rate is None else 0.0
        return set()

    sent = Delivering(FakeKinesis(a_tenth), tmp_path, time=time, duration_s=1.0).send(make_events(9_000), rate=rate)
    assert sent.acknowledged == len(sent.ledger) == pytest.approx(count, abs=500 if rate is None else 0)
    assert sent.seconds == pytest.approx(1.0, abs=0.2)


def test_stop_finishes_what_was_taken_up_and_takes_up_nothing_more(tmp_path: Path) -> None:
    def stop_in_second(call: int, _entries: list[dict[str, Any]]) -> set[int]:
        if call == 2:
            run.stop.set()
            return {0}
        return set()

    kinesis = FakeKinesis(stop_in_second)
    run = Delivering(kinesis, tmp_path)
    sent = run.send(make_events(5_000))
    assert [len(call) for call in kinesis.calls] == [500, 500, 1]
    assert sent.acknowledged == len(sent.ledger) == 1_000


def test_sent_at_is_the_time_of_the_first_call(tmp_path: Path) -> None:
    kinesis = FakeKinesis(lambda call, _entries: {0, 1} if call == 1 else set())
    ledger = Delivering(kinesis, tmp_path).send(make_events(3, keys=1)).ledger
    first = ledger["sent_at"].to_pylist()
    assert len(set(first)) == 1
    assert ledger["tries"].to_pylist() == [2, 2, 1]
    assert [at > sent for at, sent in zip(ledger["acknowledged_at"].to_pylist(), first, strict=True)] == [
        True,
        True,
        False,
    ]


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


def test_a_ledger_that_was_cut_off_gives_what_was_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "lane-0.arrows"
    with LedgerWriter(path) as ledger:
        for number in range(3):
            entry = Entry(0, b"x", "k", None, [2 * number, 2 * number + 1], [0.0, 0.0], 2, tries=1, sent_at=5.0)
            ledger.acknowledge(entry, "shardId-0", str(number), 6.0)
            ledger.flush()
    whole = read_ledger([path])
    assert whole.schema == LEDGER
    assert whole["position"].to_pylist() == [0, 1, 2, 3, 4, 5]
    assert whole["line"].to_pylist() == [1, 2, 1, 2, 1, 2]
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * 0.8)])
    assert read_ledger([path])["position"].to_pylist() in ([0, 1], [0, 1, 2, 3])
    path.write_bytes(b"")
    assert len(read_ledger([path])) == 0
