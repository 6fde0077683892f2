"""The proxy that makes the trouble: what it stands in front of, what it lets pass, and how it ends."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from producers.chaos import Chaos, ChaosCounts, ChaosProxy
from producers.errors import ProducerError
from tests.unit.chaos_calls import Kinesis, Told, client_of, put, serving, settled


@pytest.fixture
def kinesis() -> Kinesis:
    return Kinesis()


@pytest.fixture
def endpoint(kinesis: Kinesis) -> Iterator[str]:
    with serving(kinesis) as url:
        yield url


@pytest.mark.parametrize("url", ["https://kinesis.eu-west-1.amazonaws.com", "127.0.0.1:4566", "http://127.0.0.1/path"])
def test_an_endpoint_that_cannot_be_stood_in_front_of(url: str) -> None:
    with pytest.raises(ProducerError, match=r"signed for its own host and encrypted"):
        ChaosProxy(url, Chaos())


def test_other_operations_pass_through_untouched(kinesis: Kinesis, endpoint: str) -> None:
    chaos = Chaos(throttle=1.0, partial=1.0)
    with ChaosProxy(endpoint, chaos) as proxy, client_of(proxy.url) as client, client_of(endpoint) as direct:
        through, straight = client.list_streams(), direct.list_streams()
        assert through["StreamNames"] == straight["StreamNames"] == ["é"]
        headers, expected = (one["ResponseMetadata"]["HTTPHeaders"] for one in (through, straight))
        assert headers["content-type"] == expected["content-type"]
        client.put_record(StreamName="s", Data=b"x", PartitionKey="k")
        assert proxy.counts == ChaosCounts()
    assert kinesis.targets[-1].endswith(".PutRecord")


def test_an_error_of_the_endpoint_comes_through(kinesis: Kinesis, endpoint: str) -> None:
    kinesis.fails_with = 400
    with ChaosProxy(endpoint, Chaos(partial=0.5)) as proxy, client_of(proxy.url) as client:
        with pytest.raises(client.exceptions.ResourceNotFoundException, match="no such stream"):
            client.put_records(StreamName="s", Records=[{"Data": b"x", "PartitionKey": "k"}] * 9)
        assert proxy.counts == ChaosCounts(calls=1, passed=1)


def test_an_endpoint_that_does_not_answer_is_told_as_it_is(kinesis: Kinesis, endpoint: str) -> None:
    kinesis.fails_with = 0
    told = Told()
    with ChaosProxy(endpoint, Chaos()) as proxy, client_of(proxy.url) as client:
        put(client, told, [b"x"])
        assert settled(proxy) == ChaosCounts(calls=1, failed_upstream=1)
        kinesis.fails_with = None
        put(client, told, [b"y"])
    assert (told.unanswered, told.acknowledged) == ([b"x"], [b"y"])


@pytest.mark.parametrize("partial", [0.0, 0.5])
def test_calls_of_five_megabytes(kinesis: Kinesis, endpoint: str, partial: float) -> None:
    told = Told()
    payloads = [bytes([number]) * 1_040_000 for number in range(5)]
    with ChaosProxy(endpoint, Chaos(partial=partial), seed=3) as proxy, client_of(proxy.url) as client:
        put(client, told, payloads)
        put(client, told, payloads)
    assert told.acknowledged == kinesis.taken
    assert len(told.refused) == proxy.counts.partial_entries
    assert (len(told.refused) > 0) == (partial > 0)


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/", {"X-Amz-Target": "Kinesis_20131202.PutRecords", "Content-Type": "application/x-amz-cbor-1.1"}),
        (
            "/service/Kinesis/operation/PutRecords",
            {"Content-Type": "application/cbor", "smithy-protocol": "rpc-v2-cbor"},
        ),
        (
            "/",
            {
                "X-Amz-Target": "Kinesis_20131202.PutRecords",
                "Content-Type": "application/x-amz-json-1.1",
                "Content-Encoding": "gzip",
            },
        ),
    ],
)
def test_a_client_that_speaks_otherwise_is_refused_loudly(
    kinesis: Kinesis, endpoint: str, path: str, headers: dict[str, str]
) -> None:
    with ChaosProxy(endpoint, Chaos()) as proxy:
        with closing(http.client.HTTPConnection("127.0.0.1", int(proxy.url.rsplit(":", 1)[1]))) as connection:
            connection.request("POST", path, b"\xa0", headers)
            answer = connection.getresponse()
            told = json.loads(answer.read())
        assert (answer.status, told["__type"]) == (400, "SerializationException")
        assert "plain application/x-amz-json-1.1" in told["message"]
        assert proxy.counts == ChaosCounts()
    assert kinesis.targets == []


@pytest.mark.parametrize(
    "linger", [lambda client, told: put(client, told, [b"x"]), lambda client, _: client.list_streams()]
)
def test_it_ends_with_all_its_threads_and_sockets(endpoint: str, linger: Callable[[Any, Told], Any]) -> None:
    before = set(threading.enumerate())
    told = Told()
    with client_of(endpoint) as direct:
        direct.list_streams()
    with ThreadPoolExecutor(1) as pool:
        with ChaosProxy(endpoint, Chaos(timeout=1.0)) as proxy, client_of(proxy.url, read_timeout=60) as client:
            port = int(proxy.url.rsplit(":", 1)[1])
            waits = pool.submit(linger, client, told)
            deadline = time.monotonic() + 10
            while not waits.done() and proxy.counts.timeouts == 0:
                assert time.monotonic() < deadline
                time.sleep(0.01)
        waits.result(10)  # The end of the proxy is the end of the call it held.
    # The endpoint's threads end when the proxy's connections to it do.
    while left := set(threading.enumerate()) - before:
        assert time.monotonic() < deadline, left
        time.sleep(0.01)
    with pytest.raises(ConnectionRefusedError), closing(socket.create_connection(("127.0.0.1", port))):
        pass
    with pytest.raises(RuntimeError, match="only inside"):
        _ = proxy.url
