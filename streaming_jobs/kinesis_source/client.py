"""The few Kinesis calls that the source makes.

All but one go through boto3. GetRecords is signed, sent and read here: boto3 takes an answer of thousands of records
apart several times slower than the JSON library and base64 do, and that is most of what a reader does. `pybase64` is
used where it is installed; Python's own base64 gives the same, many times slower.
"""

from __future__ import annotations

import json
import random
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as AwsConnectionError
from botocore.httpsession import URLLib3Session

from streaming_jobs.kinesis_source.offsets import Position, Shard
from streaming_jobs.kinesis_source.options import SourceOptions
from streaming_jobs.kinesis_source.patience import Budget, Patience, TryAgainError
from streaming_jobs.kinesis_source.roles import assumed_session

try:
    from pybase64 import b64decode
except ImportError:
    # As on Glue, whose runtime does not have it.
    from base64 import b64decode  # type: ignore[assignment]

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

T = TypeVar("T")

MAX_RECORDS_PER_CALL: Final = 10_000
CONNECT_SECONDS: Final = 5
ANSWER_SECONDS: Final = 15
_PASSING: Final = frozenset(
    {
        "InternalFailure",
        "InternalServerError",
        "KMSThrottlingException",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "ThrottlingException",
    }
)


class IteratorExpiredError(Exception):
    """An iterator is older than five minutes; the position it stood for is still good."""


@dataclass(frozen=True)
class Fetch:
    """The answer of one GetRecords call, by column; arrivals are in microseconds since the epoch."""

    data: list[bytes]
    keys: list[str]
    numbers: list[str]
    arrivals: list[int]
    millis_behind: int
    next_iterator: str | None

    @property
    def size(self) -> int:
        """Bytes of payload."""
        return sum(map(len, self.data))

    def cut(self, count: int) -> Fetch:
        """Return the first `count` records."""
        if count >= len(self.data):
            return self
        columns = (self.data[:count], self.keys[:count], self.numbers[:count], self.arrivals[:count])
        return Fetch(*columns, self.millis_behind, self.next_iterator)


@cache
def _http() -> URLLib3Session:
    return URLLib3Session(
        timeout=(CONNECT_SECONDS, ANSWER_SECONDS),  # type: ignore[arg-type]
        max_pool_connections=64,
        # As boto3's own sessions: a request is sent in two pieces, and the second would wait for the first one's
        # acknowledgement, which takes up to 40 milliseconds of each call.
        socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],  # type: ignore[list-item]
    )


@cache
def _connect(options: SourceOptions) -> tuple[KinesisClient, Any]:
    """Return the client and its credentials; making them takes longer than many a batch."""
    session = (
        assumed_session(options, options.role_arn) if options.role_arn else boto3.Session(region_name=options.region)
    )
    # `Patience` repeats calls, so that there is one budget and one count of them.
    config = Config(
        retries={"total_max_attempts": 1},
        connect_timeout=CONNECT_SECONDS,
        read_timeout=ANSWER_SECONDS,
        max_pool_connections=64,
    )
    client = session.client("kinesis", endpoint_url=options.endpoint_url, config=config)
    return client, session.get_credentials()


class StreamClient:
    """Reads one stream. Safe for threads, but for the count of repeats, which may miss some."""

    def __init__(self, options: SourceOptions) -> None:
        """Connect, before threads ask for a connection: making one is not safe among them."""
        self._options = options
        self._client, self._credentials = _connect(options)
        self.patience = Patience(options.patience_seconds, time.monotonic, time.sleep, _draw)

    def list_shards(self) -> list[Shard]:
        """Return every shard that the stream still has."""
        shards: list[Shard] = []
        which: dict[str, Any] = {"StreamName": self._options.stream_name}
        while which:
            page = self._ask("ListShards", partial(self._client.list_shards, **which))
            for entry in page["Shards"]:
                parents = tuple(entry[key] for key in ("ParentShardId", "AdjacentParentShardId") if entry.get(key))
                shards.append(Shard(entry["ShardId"], parents, "EndingSequenceNumber" in entry["SequenceNumberRange"]))
            which = {"NextToken": page["NextToken"]} if page.get("NextToken") else {}
        return shards

    def describe(self) -> tuple[float, float]:
        """Return how long the stream keeps records, in seconds, and its own time, in epoch seconds."""
        name = self._options.stream_name
        told = self._ask("DescribeStreamSummary", partial(self._client.describe_stream_summary, StreamName=name))
        date = told["ResponseMetadata"]["HTTPHeaders"].get("date")
        now = parsedate_to_datetime(date) if date else datetime.now(UTC)
        return told["StreamDescriptionSummary"]["RetentionPeriodHours"] * 3600.0, now.timestamp()

    def open_iterator(self, shard: str, position: Position) -> str:
        """Return an iterator that stands at a position."""
        where: dict[str, Any]
        if position.after is not None:
            where = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": position.after}
        elif position.timestamp is not None:
            where = {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": position.timestamp}
        else:
            where = {"ShardIteratorType": "TRIM_HORIZON"}
        where |= {"StreamName": self._options.stream_name, "ShardId": shard}
        return str(self._ask("GetShardIterator", partial(self._client.get_shard_iterator, **where))["ShardIterator"])

    def get_records(self, iterator: str, limit: int) -> Fetch:
        """Make one GetRecords call, repeated until it is answered.

        Raises:
            IteratorExpiredError: A new iterator is needed.
            StreamUnreachableError: There was no answer in time.
        """
        return self.patience.ask("GetRecords", lambda: self._get_records(iterator, limit))

    def fetch(self, shard: str, position: Position, *, limit: Callable[[], int], budget: Budget) -> Iterator[Fetch]:
        """Yield the answers of GetRecords from `position` on, until the shard is closed or the caller stops.

        Args:
            shard: The shard.
            position: Where to begin.
            limit: Returns the most records that the next call may bring.
            budget: The pace.
        """
        last = position
        iterator: str | None = self.open_iterator(shard, last)
        while iterator is not None:
            budget.wait()
            try:
                answer = self.get_records(iterator, min(limit(), MAX_RECORDS_PER_CALL))
            except IteratorExpiredError:
                iterator = self.open_iterator(shard, last)
                continue
            budget.spend(answer.size)
            iterator = answer.next_iterator
            if answer.numbers:
                last = Position(after=answer.numbers[-1])
            yield answer

    def _get_records(self, iterator: str, limit: int) -> Fetch:
        meta = self._client.meta
        body = json.dumps({"ShardIterator": iterator, "Limit": limit}).encode()
        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "Kinesis_20131202.GetRecords"}
        request = AWSRequest("POST", meta.endpoint_url, data=body, headers=headers)
        SigV4Auth(self._credentials.get_frozen_credentials(), "kinesis", meta.region_name).add_auth(request)
        try:
            response = _http().send(request.prepare())
        except (AwsConnectionError, HTTPClientError) as error:
            raise TryAgainError(type(error).__name__) from error
        told = _read_json(response.content)
        if response.status_code == 200:
            return _to_fetch(told)
        code = str(told.get("__type", response.status_code)).rpartition("#")[2]
        if code == "ExpiredIteratorException":
            raise IteratorExpiredError
        if code in _PASSING or response.status_code >= 500:
            raise TryAgainError(code)
        raise ClientError({"Error": {"Code": code, "Message": str(told.get("message", told))}}, "GetRecords")

    def _ask(self, what: str, call: Callable[[], T]) -> T:
        def ask_once() -> T:
            try:
                return call()
            except (AwsConnectionError, HTTPClientError) as error:
                raise TryAgainError(type(error).__name__) from error
            except ClientError as error:
                code, status = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
                if code in _PASSING or status >= 500:
                    raise TryAgainError(code) from error
                raise

        return self.patience.ask(what, ask_once)


def _draw(up_to: float) -> float:
    return random.uniform(0, up_to)  # noqa: S311 - jitter is no secret


def _read_json(content: bytes) -> dict[str, Any]:
    try:
        told: dict[str, Any] = json.loads(content)
    except ValueError:
        # A proxy or a load balancer answered; its status says what to make of it.
        return {}
    return told


def _to_fetch(told: dict[str, Any]) -> Fetch:
    records = told["Records"]
    return Fetch(
        data=[b64decode(record["Data"], validate=True) for record in records],
        keys=[record["PartitionKey"] for record in records],
        numbers=[record["SequenceNumber"] for record in records],
        arrivals=[round(record["ApproximateArrivalTimestamp"] * 1_000_000) for record in records],
        millis_behind=told.get("MillisBehindLatest") or 0,
        next_iterator=told.get("NextShardIterator"),
    )
