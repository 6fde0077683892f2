"""The calls to Kinesis: pages, expired iterators, throttles, lost answers, and the pace of one shard."""

from __future__ import annotations

import base64
import importlib.util
import json
import socket
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Final

import pytest
from botocore.credentials import AssumeRoleCredentialFetcher
from botocore.exceptions import ClientError

from streaming_jobs.kinesis_source import client
from streaming_jobs.kinesis_source.client import StreamClient
from streaming_jobs.kinesis_source.errors import StreamUnreachableError
from streaming_jobs.kinesis_source.offsets import Position, Shard
from streaming_jobs.kinesis_source.options import SourceOptions
from streaming_jobs.kinesis_source.patience import Budget, Patience, TryAgainError
from streaming_jobs.kinesis_source.reading import ANSWER_BYTES, UNKNOWN_RECORDS, Share

THROTTLED: Final = (400, {"__type": "com.amazonaws.kinesis#ProvisionedThroughputExceededException", "message": "slow"})
EXPIRED: Final = (400, {"__type": "ExpiredIteratorException", "message": "old"})
LOST: Final[tuple[int, Any]] = (0, None)
GARBLED: Final[tuple[int, Any]] = (502, None)


class Server(ThreadingHTTPServer):
    """Answers calls in the order of a script: (call, answer), and keeps what was asked."""

    def __init__(self) -> None:
        self.script: list[tuple[str, tuple[int, Any]]] = []
        self.asked: list[tuple[str, dict[str, Any]]] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = self.headers["X-Amz-Target"].rpartition(".")[2]
        self.server.asked.append((name, body))
        expected, (status, answer) = self.server.script.pop(0)
        assert name == expected, f"{name} where {expected} was expected"
        assert self.headers["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=testing/")
        if not status:
            return
        told = json.dumps(answer).encode() if answer is not None else b"<html>"
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def kinesis(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setattr("time.sleep", lambda _: None)
    client._connect.cache_clear()
    with Server() as server:
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()
        assert server.script == []
        client._http().close()
        client._http.cache_clear()
        client._connect.cache_clear()


def connect(server: Server, **others: Any) -> StreamClient:
    place = {"stream_name": "listens", "progress_location": "file:/tmp", "region": "eu-west-1"}
    return StreamClient(SourceOptions(**(place | {"endpoint_url": server.url} | others)))


def free() -> Budget:
    return Budget(0.0, 0.0, lambda: 0.0, lambda _: None)


def page(*numbers: int, following: str | None, behind: int = 0) -> tuple[int, dict[str, Any]]:
    records = [
        {
            "Data": base64.b64encode(b"\x00record %d" % number).decode(),
            "PartitionKey": f"key {number}",
            "SequenceNumber": str(number),
            "ApproximateArrivalTimestamp": 1719338400.123 + number,
        }
        for number in numbers
    ]
    told: dict[str, Any] = {"Records": records, "MillisBehindLatest": behind}
    return 200, told | ({"NextShardIterator": following} if following else {})


def test_shards_are_listed_over_pages_with_both_parents(kinesis: Server) -> None:
    keys = {"StartingHashKey": "0", "EndingHashKey": "1"}
    ended = {"StartingSequenceNumber": "1", "EndingSequenceNumber": "9"}
    halves = [{"ShardId": name, "HashKeyRange": keys, "SequenceNumberRange": ended} for name in ("l", "r")]
    merged = {"ShardId": "m", "HashKeyRange": keys, "SequenceNumberRange": {"StartingSequenceNumber": "1"}}
    merged |= {"ParentShardId": "l", "AdjacentParentShardId": "r"}
    kinesis.script = [
        ("ListShards", (200, {"Shards": halves, "NextToken": "more"})),
        ("ListShards", (200, {"Shards": [merged]})),
    ]
    left, right = Shard("l", closed=True), Shard("r", closed=True)
    assert connect(kinesis).list_shards() == [left, right, Shard("m", ("l", "r"))]
    assert [body for _, body in kinesis.asked] == [{"StreamName": "listens"}, {"NextToken": "more"}]


def test_answers_are_taken_apart_and_followed_to_the_end(kinesis: Server) -> None:
    kinesis.script = [
        ("GetShardIterator", (200, {"ShardIterator": "i1"})),
        ("GetRecords", page(1, 2, following="i2", behind=9)),
        ("GetRecords", page(3, following=None)),
    ]
    one, two = connect(kinesis).fetch("a", Position(), limit=lambda: 10, budget=free())
    assert (one.data, one.keys, one.numbers) == ([b"\x00record 1", b"\x00record 2"], ["key 1", "key 2"], ["1", "2"])
    assert one.arrivals == [1719338401123000, 1719338402123000]
    assert (one.millis_behind, one.next_iterator, one.size) == (9, "i2", 18)
    assert (two.numbers, two.next_iterator) == (["3"], None)
    assert kinesis.asked[1:] == [
        ("GetRecords", {"ShardIterator": "i1", "Limit": 10}),
        ("GetRecords", {"ShardIterator": "i2", "Limit": 10}),
    ]


def test_an_expired_iterator_is_renewed_where_the_reading_stands(kinesis: Server) -> None:
    kinesis.script = [
        ("GetShardIterator", (200, {"ShardIterator": "i1"})),
        ("GetRecords", EXPIRED),
        ("GetShardIterator", (200, {"ShardIterator": "i2"})),
        ("GetRecords", page(1, 2, following="i3")),
        ("GetRecords", EXPIRED),
        ("GetShardIterator", (200, {"ShardIterator": "i4"})),
        ("GetRecords", page(3, following=None)),
    ]
    begin = Position("AT_TIMESTAMP", 5.0)
    found = list(connect(kinesis).fetch("a", begin, limit=lambda: 10, budget=free()))
    assert [fetch.numbers for fetch in found] == [["1", "2"], ["3"]]
    where = [{key: body[key] for key in body.keys() - {"StreamName", "ShardId"}} for _, body in kinesis.asked]
    assert where[0] == where[2] == {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": 5.0}
    assert where[5] == {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": "2"}


@pytest.mark.parametrize("trouble", [THROTTLED, LOST, GARBLED, (500, {"__type": "InternalFailure"})])
def test_trouble_that_passes_is_asked_again_with_the_same_iterator(kinesis: Server, trouble: tuple[int, Any]) -> None:
    kinesis.script = [
        ("GetShardIterator", trouble),
        ("GetShardIterator", (200, {"ShardIterator": "i1"})),
        ("GetRecords", trouble),
        ("GetRecords", trouble),
        ("GetRecords", page(1, following=None)),
    ]
    one = connect(kinesis)
    assert [fetch.numbers for fetch in one.fetch("a", Position(), limit=lambda: 10, budget=free())] == [["1"]]
    assert one.patience.repeats == 3


def test_a_call_leaves_at_once(kinesis: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Headers and body are sent one after the other: by default the body waits until the headers are acknowledged."""
    options: list[tuple[Any, ...]] = []

    class Told(socket.socket):
        def setsockopt(self, *option: Any) -> None:
            options.append(option)
            super().setsockopt(*option)

    kinesis.script = [("GetRecords", page(1, following=None))]
    one = connect(kinesis)
    with monkeypatch.context() as patch:
        patch.setattr(socket, "socket", Told)
        one.get_records("i", 10)
    assert (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1) in options


@pytest.mark.parametrize("length", [0, 1, 2, 3, 65_536])
def test_payloads_are_the_same_without_what_decodes_them_faster(kinesis: Server, length: int) -> None:
    payload = bytes(number % 251 for number in range(length))
    kinesis.script = [("GetRecords", page(1, following=None))] * 2
    for _, (_, answer) in kinesis.script:
        answer["Records"][0]["Data"] = base64.b64encode(payload).decode()
    assert connect(kinesis).get_records("i", 10).data == [payload]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "b64decode", decoder_without_pybase64())
        assert connect(kinesis).get_records("i", 10).data == [payload]


def decoder_without_pybase64() -> Callable[..., bytes]:
    """What the module decodes with where `pybase64` is not installed."""
    name = "client_without_pybase64"
    spec = importlib.util.spec_from_file_location(name, client.__file__)
    assert spec is not None and spec.loader is not None
    alone = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "pybase64", None)
        patch.setitem(sys.modules, name, alone)
        spec.loader.exec_module(alone)
    found: Callable[..., bytes] = alone.b64decode
    assert found is base64.b64decode
    return found


def test_an_error_that_stays_ends_the_query_at_once(kinesis: Server) -> None:
    kinesis.script = [("GetRecords", (400, {"__type": "ResourceNotFoundException", "message": "gone"}))]
    with pytest.raises(ClientError, match=r"ResourceNotFoundException.*gone"):
        connect(kinesis).get_records("i", 10)


def test_a_role_is_assumed_for_reading(kinesis: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def fetch(self: Any) -> dict[str, str]:
        asked.append((self._role_arn, self._assume_kwargs["RoleSessionName"]))
        return {
            "access_key": "testing",
            "secret_key": "assumed",
            "token": "session token",
            "expiry_time": "2999-01-01T00:00:00Z",
        }

    monkeypatch.setattr(AssumeRoleCredentialFetcher, "fetch_credentials", fetch)
    kinesis.script = [("GetRecords", page(following=None))]
    one = connect(kinesis, role_arn="arn:aws:iam::123456789012:role/reader", role_session_name="me")
    assert asked == []
    one.get_records("i", 10)
    assert asked == [("arn:aws:iam::123456789012:role/reader", "me")]


# -- pace and patience ------------------------------------------------------------------------------------------------


class Clock:
    """A clock that only sleep moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def test_a_shard_is_read_five_times_and_two_megabytes_a_second() -> None:
    clock = Clock()
    budget = Budget(5.0, 2e6, clock, clock.sleep)
    for size in (0, 0, 10_000_000, 1_000):
        budget.wait()
        budget.spend(size)
    budget.wait()
    assert clock.slept == pytest.approx([0.2, 0.2, 5.0, 0.2])


def test_patience_draws_longer_pauses_and_ends() -> None:
    clock = Clock()
    patience = Patience(20.0, clock, clock.sleep, lambda up_to: up_to)

    def refuse() -> None:
        raise TryAgainError("ProvisionedThroughputExceededException")

    with pytest.raises(StreamUnreachableError, match=r"GetRecords within 20 s; found ProvisionedThroughputExceeded"):
        patience.ask("GetRecords", refuse)
    assert clock.slept == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0])


def test_shares_ask_for_what_fits() -> None:
    share = Share(records=25_000, size=1_000)
    assert share.next_limit(0, 0) == UNKNOWN_RECORDS
    assert share.next_limit(10, 200) == 40
    assert share.next_limit(24_990, 0) == 10
    assert Share(records=0, size=1_000, record_size=100.0).next_limit(0, 0) == 10
    assert Share(records=0, size=0).next_limit(5, 500) == 10_000
    assert Share(records=0, size=0).next_limit(5, 5 * ANSWER_BYTES // 40) == 40
    assert Share(records=0, size=0).next_limit(5, 0) == 10_000
    assert not Share(records=0, size=0).is_used_up(10**9, 10**12)
