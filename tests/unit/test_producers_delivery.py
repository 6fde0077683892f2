"""Delivery against a scripted Kinesis that keeps what it acknowledged and refuses what real Kinesis refuses."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, cast

import numpy as np
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from hypothesis import given
from hypothesis import strategies as st

from producers.acknowledgements import DeliveryReport
from producers.batching import Batcher
from producers.delivery import Clock, Delivery, DeliverySettings
from producers.errors import DeliveryError, ProducerError
from producers.records import Record

Script = Callable[[int, list[dict[str, Any]]], set[int]]
"""Gets the number of the call and its entries; returns the places that fail, or raises."""


class FakeKinesis:
    def __init__(self, script: Script = lambda _call, _entries: set()) -> None:
        self.script = script
        self.calls: list[list[bytes]] = []
        self.kept: list[bytes] = []

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
                self.kept.append(entry["Data"])
                answers.append({"ShardId": "shardId-0", "SequenceNumber": str(len(self.kept))})
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


def make_records(count: int, size: int = 10) -> list[Record]:
    return [Record(str(number).encode().rjust(size, b"."), f"user-{number % 7}") for number in range(count)]


def deliver(
    kinesis: FakeKinesis, records: Iterable[Record], *, time: Time | None = None, stop: threading.Event | None = None,
    progress: Callable[[int, int], None] | None = None, **settings: Any,
) -> DeliveryReport:  # fmt: skip
    delivery = Delivery(
        cast("Any", kinesis),
        "listens",
        DeliverySettings(**settings),
        rng=np.random.default_rng(1),
        clock=(time or Time()).clock(),
        stop=stop or threading.Event(),
        on_progress=progress,
    )
    return delivery.run(records)


def refuse(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "PutRecords")


@given(
    st.lists(st.integers(0, 1024 * 1024 - 1), max_size=30),
    st.lists(st.integers(0, 3_000), max_size=1_200),
    st.integers(1, 700),
)
def test_batches_hold_every_record_once_in_order_and_within_the_limits(
    large: list[int], small: list[int], most: int
) -> None:
    block = bytes(1024 * 1024)
    records = [Record(block[:size], "k") for size in [*large, *small]]
    batcher = Batcher(iter(records))
    batches = list(iter(lambda: batcher.take(most), []))
    assert [len(r.payload) for batch in batches for r in batch] == [*large, *small]
    for batch in batches:
        assert 1 <= len(batch) <= min(500, most)
        assert sum(len(record.payload) + 1 for record in batch) <= 5 * 1024 * 1024


def test_batches_are_full_where_the_limits_allow() -> None:
    kinesis = FakeKinesis()
    deliver(kinesis, make_records(1_200))
    assert [len(call) for call in kinesis.calls] == [500, 500, 200]
    kinesis = FakeKinesis()
    deliver(kinesis, make_records(7, size=1024 * 1024 - 6))
    assert [len(call) for call in kinesis.calls] == [5, 2]
    assert len(Batcher(make_records(700)).take(700)) == 500


def test_only_failed_entries_are_sent_again_and_before_anything_newer() -> None:
    kinesis = FakeKinesis(lambda call, _entries: {1: {3, 499}, 2: {1}}.get(call, set()))
    records = make_records(501)
    time = Time()
    report = deliver(kinesis, records, time=time)
    payloads = [record.payload for record in records]
    assert kinesis.calls == [payloads[:500], [payloads[3], payloads[499]], [payloads[499]], [payloads[500]]]
    assert report.retried == {"ProvisionedThroughputExceededException": 3}
    assert (report.sent, report.acknowledged, report.failed) == (501, 501, 0)
    for place, record in enumerate(records):
        assert kinesis.kept[int(report.sequence_numbers[place] or 0) - 1] == record.payload
    assert len(time.slept) == 2


@given(st.lists(st.sets(st.integers(0, 499)), max_size=8), st.integers(0, 1_300))
def test_sent_is_acknowledged_plus_not_acknowledged(failing: list[set[int]], count: int) -> None:
    def script(call: int, entries: list[dict[str, Any]]) -> set[int]:
        return {place for place in failing[(call - 1) % len(failing)] if place < len(entries)} if failing else set()

    kinesis = FakeKinesis(script)
    records = make_records(count)
    try:
        report = deliver(kinesis, records, max_tries=3)
        assert report.sent == report.acknowledged == count
    except DeliveryError as error:
        report = error.report
        assert report.failed > 0
    acknowledged = [number for number in report.sequence_numbers if number is not None]
    assert len(acknowledged) == report.acknowledged == len(kinesis.kept) == len(set(kinesis.kept))
    assert [shard is None for shard in report.shard_ids] == [n is None for n in report.sequence_numbers]
    for place, number in enumerate(report.sequence_numbers):
        assert (number is None) == (records[place].payload not in kinesis.kept)
    assert report.summary()["not_acknowledged"] == report.sent - len(acknowledged)


def test_backoff_doubles_with_full_jitter_and_ends() -> None:
    kinesis = FakeKinesis(lambda _call, entries: set(range(len(entries))))
    time = Time()
    with pytest.raises(DeliveryError, match=r"within 6 tries; found 10 .*: 0 of 10 records taken up are ack.*, 10 are"):
        deliver(kinesis, make_records(10), time=time, max_tries=6, first_backoff_s=1.0, longest_backoff_s=4.0)
    assert len(kinesis.calls) == 6
    assert all(0 <= pause <= bound for pause, bound in zip(time.slept, [1, 2, 4, 4, 4], strict=True))
    assert len(set(time.slept)) == 5


@pytest.mark.parametrize(
    "error", [refuse("ProvisionedThroughputExceededException"), EndpointConnectionError(endpoint_url="http://x")]
)
def test_a_call_that_fails_as_a_whole_is_made_again(error: Exception) -> None:
    def script(call: int, _entries: list[dict[str, Any]]) -> set[int]:
        if call == 1:
            raise error
        return set()

    kinesis = FakeKinesis(script)
    report = deliver(kinesis, make_records(3))
    assert kinesis.calls[0] == kinesis.calls[1]
    assert report.acknowledged == sum(report.retried.values()) == 3


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("ResourceNotFoundException", "expected the Kinesis stream 'listens'; found no stream of that name: 500 of"),
        ("AccessDeniedException", "found the refusal AccessDeniedException: 500 of 1000 records taken up are ack"),
    ],
)
def test_a_refusal_ends_delivery_with_its_account(code: str, message: str) -> None:
    def script(call: int, _entries: list[dict[str, Any]]) -> set[int]:
        if call == 2:
            raise refuse(code)
        return set()

    with pytest.raises(DeliveryError, match=message) as caught:
        deliver(FakeKinesis(script), make_records(1_200))
    assert (caught.value.report.acknowledged, caught.value.report.failed) == (500, 500)


def test_a_record_no_shard_takes_is_named_after_the_ones_before_it_are_sent() -> None:
    kinesis = FakeKinesis()
    records = [*make_records(3), Record(bytes(1024 * 1024), "k"), *make_records(3)]
    with pytest.raises(ProducerError, match="1048577 bytes in record 4: 3 of 3"):
        deliver(kinesis, records)
    assert len(kinesis.kept) == 3


def test_the_rate_is_held_and_not_exceeded() -> None:
    time, marks = Time(), [(1_000.0, 0)]
    report = deliver(
        FakeKinesis(),
        make_records(3_000),
        time=time,
        rate=1_234.0,
        progress=lambda sent, _acknowledged: marks.append((time.at, sent)),
    )
    assert report.seconds == pytest.approx(3_000 / 1_234, rel=0.03)
    assert all(sent <= (at - 1_000.0) * 1_234 + 1 for at, sent in marks)
    assert report.longest_lag_s < 0.01


def test_falling_behind_is_reported_and_not_made_up_by_waiting() -> None:
    time = Time()

    def slow(_call: int, _entries: list[dict[str, Any]]) -> set[int]:
        time.at += 1.0
        return set()

    kinesis = FakeKinesis(slow)
    report = deliver(kinesis, make_records(5_000), time=time, rate=1_000.0)
    assert report.acknowledged == 5_000
    assert report.longest_lag_s == pytest.approx(report.seconds - 1.0 - 5.0, abs=0.7)
    assert max(len(call) for call in kinesis.calls) == 500


@pytest.mark.parametrize(("rate", "sent"), [(1_234.0, 1_234), (3.0, 3), (None, 5_000)])
def test_the_duration_ends_delivery_with_all_that_was_due(rate: float | None, sent: int) -> None:
    time = Time()

    def a_tenth(_call: int, _entries: list[dict[str, Any]]) -> set[int]:
        time.at += 0.1 if rate is None else 0.0
        return set()

    report = deliver(FakeKinesis(a_tenth), make_records(9_000), time=time, rate=rate, duration_s=1.0)
    assert report.sent == report.acknowledged == pytest.approx(sent, abs=500 if rate is None else 0)
    assert report.seconds == pytest.approx(1.0, abs=0.11)


def test_stop_finishes_the_batch_begun_and_takes_up_nothing_more() -> None:
    stop = threading.Event()

    def stop_in_second(call: int, _entries: list[dict[str, Any]]) -> set[int]:
        if call == 2:
            stop.set()
            return {0}
        return set()

    kinesis = FakeKinesis(stop_in_second)
    report = deliver(kinesis, make_records(5_000), stop=stop)
    assert [len(call) for call in kinesis.calls] == [500, 500, 1]
    assert (report.sent, report.acknowledged, report.stopped) == (1_000, 1_000, True)


def test_sent_at_is_the_time_of_the_first_call_and_progress_follows_each() -> None:
    time, seen = Time(), list[tuple[int, int]]()
    kinesis = FakeKinesis(lambda call, _entries: {0, 1} if call == 1 else set())
    report = deliver(kinesis, make_records(3), time=time, progress=lambda *counts: seen.append(counts))
    assert report.sent_at == [1_000.0] * 3
    assert seen == [(3, 1), (3, 3)]
