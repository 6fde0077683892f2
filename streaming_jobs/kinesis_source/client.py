"""The few Kinesis calls the source makes, over boto3; one client per process and endpoint."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from streaming_jobs.kinesis_source.offsets import Position, Shard

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient
    from mypy_boto3_kinesis.type_defs import RecordTypeDef

MAX_RECORDS_PER_CALL = 10_000


@dataclass(frozen=True)
class Fetch:
    """The answer of one GetRecords call."""

    records: list[RecordTypeDef]
    millis_behind: int
    closed: bool


@cache
def _client(region: str | None, endpoint: str | None) -> KinesisClient:
    # Adaptive mode slows down on ProvisionedThroughputExceeded: a shard allows five reads and 2 MB a second.
    config = Config(retries={"mode": "adaptive", "max_attempts": 12})
    return boto3.client("kinesis", region_name=region, endpoint_url=endpoint, config=config)


class StreamClient:
    """Reads one stream."""

    def __init__(self, stream: str, *, region: str | None, endpoint: str | None) -> None:
        """Name the stream; the connection is made on first use."""
        self.stream = stream
        self._kinesis = _client(region, endpoint)

    def list_shards(self) -> list[Shard]:
        """Return every shard that the stream still has."""
        pages = self._kinesis.get_paginator("list_shards").paginate(StreamName=self.stream)
        return [
            Shard(
                id=entry["ShardId"],
                parents=tuple(entry[key] for key in ("ParentShardId", "AdjacentParentShardId") if key in entry),
                closed="EndingSequenceNumber" in entry["SequenceNumberRange"],
            )
            for page in pages
            for entry in page["Shards"]
        ]

    def fetch(self, shard: str, position: Position, *, limit: int = MAX_RECORDS_PER_CALL) -> Iterator[Fetch]:
        """Yield the answers of GetRecords from `position` on, until the shard is closed or the caller stops."""
        last = position
        iterator: str | None = self._iterator(shard, last)
        while iterator is not None:
            try:
                answer = self._kinesis.get_records(ShardIterator=iterator, Limit=limit)
            except self._kinesis.exceptions.ExpiredIteratorException:
                iterator = self._iterator(shard, last)
                continue
            iterator = answer.get("NextShardIterator")
            records = answer["Records"]
            if records:
                last = Position(after=records[-1]["SequenceNumber"])
            yield Fetch(records, answer.get("MillisBehindLatest", 0), closed=iterator is None)

    def _iterator(self, shard: str, position: Position) -> str:
        where: dict[str, Any]
        if position.after is not None:
            where = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": position.after}
        elif position.timestamp is not None:
            where = {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": position.timestamp}
        else:
            where = {"ShardIteratorType": "TRIM_HORIZON"}
        return self._kinesis.get_shard_iterator(StreamName=self.stream, ShardId=shard, **where)["ShardIterator"]
