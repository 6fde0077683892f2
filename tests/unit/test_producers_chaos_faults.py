"""Injected trouble, in front of a Kinesis that remembers what it took: told and taken must agree, fault by fault."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final

import pytest
from botocore.exceptions import HTTPClientError, ReadTimeoutError

from producers.chaos import Chaos, ChaosCounts, ChaosProxy
from tests.unit.chaos_calls import Kinesis, Told, client_of, payloads_of, put, run, serving, settled, sum_of_fates

ALL: Final = Chaos(throttle=0.2, partial=0.2, timeout=0.1)


@pytest.fixture
def kinesis() -> Kinesis:
    return Kinesis()


@pytest.fixture
def endpoint(kinesis: Kinesis) -> Iterator[str]:
    with serving(kinesis) as url:
        yield url


def test_without_trouble_all_passes(kinesis: Kinesis, endpoint: str) -> None:
    told, counts = run(endpoint, Chaos(), calls=20)
    assert counts == ChaosCounts(calls=20, passed=20)
    assert told.acknowledged == kinesis.taken == [one for call in range(20) for one in payloads_of(call, 5)]
    assert told.sequence_numbers == list(range(100))
    assert kinesis.connections == 1, "one connection of the client is one to the endpoint, and both are kept"


def test_a_throttled_call_is_never_handed_on(kinesis: Kinesis, endpoint: str) -> None:
    told, counts = run(endpoint, Chaos(throttle=0.3))
    assert counts == ChaosCounts(calls=60, passed=kinesis.calls, throttled=60 - kinesis.calls)
    assert 5 * counts.throttled == len(told.throttled)
    assert told.acknowledged == kinesis.taken
    assert 8 <= counts.throttled <= 28, "of 60, 18 are due; six sigma are 21"


def test_refused_entries_are_never_handed_on_and_all_stay_in_their_place(kinesis: Kinesis, endpoint: str) -> None:
    told, counts = run(endpoint, Chaos(partial=0.4), calls=40, entries=10)
    assert counts == ChaosCounts(calls=40, passed=40, partial_entries=len(told.refused))
    assert told.acknowledged == kinesis.taken
    assert [kinesis.taken[number] for number in told.sequence_numbers] == told.acknowledged
    assert sorted(told.acknowledged + told.refused) == sorted(
        one for call in range(40) for one in payloads_of(call, 10)
    )
    assert 100 <= len(told.refused) <= 220, "of 400, 160 are due; six sigma are 59"


def test_a_call_of_which_every_entry_is_refused_is_answered_all_the_same(kinesis: Kinesis, endpoint: str) -> None:
    told, counts = run(endpoint, Chaos(partial=1.0), calls=3)
    assert counts == ChaosCounts(calls=3, passed=3, partial_entries=15)
    assert (len(told.refused), kinesis.calls) == (15, 0)


def test_half_of_the_calls_without_an_answer_are_delivered(kinesis: Kinesis, endpoint: str) -> None:
    told, counts = run(endpoint, Chaos(timeout=0.5))
    assert 5 * counts.timeouts == len(told.unanswered)
    assert counts.passed + counts.timeouts == counts.calls == 60
    assert kinesis.calls == counts.passed + counts.delivered_without_answer
    silent = Counter(kinesis.taken) - Counter(told.acknowledged)
    assert silent.total() == 5 * counts.delivered_without_answer
    assert silent.keys() <= set(told.unanswered)
    assert 0 < counts.delivered_without_answer < counts.timeouts


def test_a_call_without_an_answer_is_held_until_the_client_gives_up(endpoint: str) -> None:
    with ChaosProxy(endpoint, Chaos(timeout=1.0)) as proxy, client_of(proxy.url, read_timeout=0.3) as client:
        began = time.monotonic()
        with pytest.raises(ReadTimeoutError):
            client.put_records(StreamName="s", Records=[{"Data": b"x", "PartitionKey": "k"}])
        assert time.monotonic() - began >= 0.3


def test_an_outage_cuts_off_everything_from_its_start_to_its_end(kinesis: Kinesis, endpoint: str) -> None:
    now = [1000.0]
    chaos = Chaos.parse("outage=10s@30s,outage=5s@60s")
    told = Told()
    with ChaosProxy(endpoint, chaos, clock=lambda: now[0]) as proxy, client_of(proxy.url) as client:
        assert client.list_streams()["StreamNames"] == ["é"]
        now[0] = 2000.0  # Nothing is timed from here: the first PutRecords call comes now.
        for second in (0, 29.9, 30, 39.9, 40, 59.9, 60, 64.9, 65):
            now[0] = 2000.0 + second
            put(client, told, [str(second).encode()])
        now[0] = 2030.0
        with pytest.raises(HTTPClientError):
            client.list_streams()
        assert settled(proxy) == ChaosCounts(calls=9, passed=5, refused_in_outage=4)
    assert told.unanswered == [b"30", b"39.9", b"60", b"64.9"]
    assert kinesis.taken == told.acknowledged == [b"0", b"29.9", b"40", b"59.9", b"65"]


def test_a_large_call_is_cut_off_as_well(endpoint: str) -> None:
    told = Told()
    with ChaosProxy(endpoint, Chaos.parse("outage=1m@0s")) as proxy, client_of(proxy.url) as client:
        put(client, told, [b"x" * 1_000_000] * 5)
        assert settled(proxy) == ChaosCounts(calls=1, refused_in_outage=1)
    assert len(told.unanswered) == 5


def test_the_same_seed_makes_the_same_trouble(endpoint: str) -> None:
    first, again, other = (run(endpoint, ALL, seed=seed) for seed in (1, 1, 2))
    assert first[1] == again[1]
    assert vars(first[0]) | {"sequence_numbers": 0} == vars(again[0]) | {"sequence_numbers": 0}
    assert other[0].throttled != first[0].throttled


def test_every_entry_is_accounted_for_over_many_connections(kinesis: Kinesis, endpoint: str) -> None:
    everything = [payloads_of(call, 20) for call in range(240)]
    with ChaosProxy(endpoint, ALL, hold_seconds=0.01) as proxy, client_of(proxy.url) as client:
        with ThreadPoolExecutor(12) as pool:
            tolds = [Told() for _ in everything]
            list(pool.map(lambda told, payloads: put(client, told, payloads), tolds, everything))
        counts = settled(proxy)
    fates = {name: [one for told in tolds for one in getattr(told, name)] for name in vars(Told())}
    told = [one for name in ("acknowledged", "refused", "throttled", "unanswered") for one in fates[name]]
    assert sorted(told) == sorted(one for payloads in everything for one in payloads)
    assert (counts.calls, sum_of_fates(counts)) == (240, 240)
    assert len(fates["refused"]) == counts.partial_entries > 0
    assert len(fates["throttled"]) == 20 * counts.throttled > 0
    assert len(fates["unanswered"]) == 20 * counts.timeouts > 0
    assert len(kinesis.taken) == len(fates["acknowledged"]) + 20 * counts.delivered_without_answer
    assert [kinesis.taken[number] for number in fates["sequence_numbers"]] == fates["acknowledged"]
    assert sequential_counts(240) == replace(counts, partial_entries=0)


def sequential_counts(calls: int) -> ChaosCounts:
    """The counts of as many calls of no entries, one after another."""
    with serving(Kinesis()) as url, ChaosProxy(url, replace(ALL, partial=0.0), hold_seconds=0) as proxy:
        with client_of(proxy.url) as client:
            for _ in range(calls):
                put(client, Told(), [b"x"])
        return settled(proxy)
