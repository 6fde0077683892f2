"""Records and calls that fail: what a lane sends again, in which order, how often, and when it gives up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from producers.errors import LaneError
from tests.unit.scripted_kinesis import Delivering, FakeKinesis, make_events, payloads, refuse, unpack


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
