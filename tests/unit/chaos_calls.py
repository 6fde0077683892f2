"""Calls through the chaos proxy, with what they were told, to a Kinesis that remembers what it took."""

from __future__ import annotations

import base64
import json
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError

from producers.chaos import Chaos, ChaosCounts, ChaosProxy

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
