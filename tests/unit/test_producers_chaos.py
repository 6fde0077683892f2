"""Injected trouble, in front of a Kinesis that remembers what it took: told and taken must agree, fault by fault."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError, ReadTimeoutError

from producers.chaos import Chaos, ChaosCounts, ChaosProxy, Outage
from producers.errors import ProducerError

THROTTLED: Final = "ProvisionedThroughputExceededException"


class Kinesis:
    """An endpoint that takes every record, once per call that carries it."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.calls = 0
        self.connections = 0
        self.targets: list[str] = []
        self.fails_with: int | None = None
        self.lock = threading.Lock()

    def put_records(self, body: bytes) -> dict[str, Any]:
        call = json.loads(body)
        with self.lock:
            self.calls += 1
            first = len(self.taken)
            self.taken += [base64.b64decode(entry["Data"]) for entry in call["Records"]]
            numbers = range(first, len(self.taken))
        told = [{"SequenceNumber": str(number), "ShardId": "shardId-000000000000"} for number in numbers]
        return {"FailedRecordCount": 0, "Records": told}


@contextmanager
def serving(kinesis: Kinesis) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            kinesis.connections += 1

        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            target = self.headers.get("X-Amz-Target", "")
            kinesis.targets.append(target)
            if kinesis.fails_with == 0:
                self.close_connection = True
                return
            answer = (
                kinesis.put_records(body)
                if target.endswith(".PutRecords")
                else {"StreamNames": ["é"], "HasMoreStreams": False}
            )
            sent = json.dumps(answer, ensure_ascii=False).encode()
            if kinesis.fails_with:
                sent = b'{"__type":"ResourceNotFoundException","message":"no such stream"}'
            self.send_response(kinesis.fails_with or 200)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(sent)))
            self.send_header("x-amz-crc32", str(zlib.crc32(sent)))
            self.end_headers()
            self.wfile.write(sent)

    class Server(ThreadingHTTPServer):
        daemon_threads = False

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def kinesis() -> Kinesis:
    return Kinesis()


@pytest.fixture
def endpoint(kinesis: Kinesis) -> Iterator[str]:
    with serving(kinesis) as url:
        yield url


@contextmanager
def client_of(url: str, read_timeout: float = 10.0) -> Iterator[Any]:
    config = Config(retries={"total_max_attempts": 1}, read_timeout=read_timeout, max_pool_connections=20)
    client = boto3.client(
        "kinesis", "eu-west-1", endpoint_url=url, aws_access_key_id="a", aws_secret_access_key="b", config=config
    )
    with closing(client):
        yield client


class Told:
    """What a client learned of its entries: each is in exactly one of these."""

    def __init__(self) -> None:
        self.acknowledged: list[bytes] = []
        self.refused: list[bytes] = []
        self.throttled: list[bytes] = []
        self.unanswered: list[bytes] = []
        self.sequence_numbers: list[int] = []


def put(client: Any, told: Told, payloads: list[bytes]) -> None:
    """Put once, without a retry, and note what came of it."""
    entries = [{"Data": payload, "PartitionKey": "k"} for payload in payloads]
    try:
        answer = client.put_records(StreamName="s", Records=entries)
    except ClientError as error:
        assert error.response["Error"]["Code"] == THROTTLED
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 400
        told.throttled += payloads
        return
    except HTTPClientError:
        told.unanswered += payloads
        return
    assert len(answer["Records"]) == len(payloads)
    assert answer["FailedRecordCount"] == sum("ErrorCode" in entry for entry in answer["Records"])
    for payload, entry in zip(payloads, answer["Records"], strict=True):
        if "ErrorCode" in entry:
            assert entry["ErrorCode"] == THROTTLED
            told.refused.append(payload)
        else:
            told.acknowledged.append(payload)
            told.sequence_numbers.append(int(entry["SequenceNumber"]))


def payloads_of(call: int, entries: int) -> list[bytes]:
    return [f"{call}/{entry}".encode() for entry in range(entries)]


def run(endpoint: str, chaos: Chaos, *, calls: int = 60, entries: int = 5, seed: int = 1) -> tuple[Told, ChaosCounts]:
    told = Told()
    with ChaosProxy(endpoint, chaos, seed=seed, hold_seconds=0) as proxy, client_of(proxy.url) as client:
        for call in range(calls):
            put(client, told, payloads_of(call, entries))
        return told, settled(proxy)


def settled(proxy: ChaosProxy) -> ChaosCounts:
    """The counts, once every call is counted: one whose client gave up may still be on its way."""
    deadline = time.monotonic() + 10
    while (counts := proxy.counts).calls != sum_of_fates(counts):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return counts


def sum_of_fates(counts: ChaosCounts) -> int:
    return counts.passed + counts.throttled + counts.timeouts + counts.refused_in_outage + counts.failed_upstream


# -- the text ---------------------------------------------------------------------------------------------------------


def test_the_text_of_the_issue() -> None:
    chaos = Chaos.parse("throttle=5%,partial=2%,timeout=1%,outage=10s@30s")
    assert chaos == Chaos(throttle=0.05, partial=0.02, timeout=0.01, outages=(Outage(start=30.0, seconds=10.0),))


@pytest.mark.parametrize(
    ("text", "chaos"),
    [
        ("throttle=0%", Chaos()),
        (" partial=12.5% , throttle=100%", Chaos(partial=0.125, throttle=1.0)),
        ("outage=1m@0s,outage=250ms@2.5m", Chaos(outages=(Outage(0.0, 60.0), Outage(150.0, 0.25)))),
    ],
)
def test_parts_may_be_left_out_and_outages_be_many(text: str, chaos: Chaos) -> None:
    assert Chaos.parse(text) == chaos


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "nothing"),
        ("throttle=5%,", "nothing"),
        ("throttle", "throttle"),
        ("throttle=5", "throttle=5"),
        ("throttle=-5%", "throttle=-5%"),
        ("throttle=nan%", "throttle=nan%"),
        ("throttle=5%,throttle=6%", "throttle=6%"),
        ("brownout=5%", "brownout=5%"),
        ("outage=10s", "outage=10s"),
        ("outage=10@30", "outage=10@30"),
        ("outage=5%", "outage=5%"),
        ("partial=101%", "partial=101%"),
        ("throttle=60%,timeout=41%", "throttle=60%,timeout=41%"),
    ],
)
def test_other_texts_are_refused_and_named(text: str, found: str) -> None:
    with pytest.raises(ProducerError) as caught:
        Chaos.parse(text)
    assert f"found {found}" in str(caught.value)


@pytest.mark.parametrize("url", ["https://kinesis.eu-west-1.amazonaws.com", "127.0.0.1:4566", "http://127.0.0.1/path"])
def test_an_endpoint_that_cannot_be_stood_in_front_of(url: str) -> None:
    with pytest.raises(ProducerError, match=r"signed for its own host and encrypted"):
        ChaosProxy(url, Chaos())


# -- one fault at a time ----------------------------------------------------------------------------------------------


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


# -- all together -----------------------------------------------------------------------------------------------------

ALL: Final = Chaos(throttle=0.2, partial=0.2, timeout=0.1)


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


# -- what passes, and what ends ---------------------------------------------------------------------------------------


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
