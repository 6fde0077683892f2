"""The source itself, on Spark's Python Data Source API: `spark.readStream.format("listenlake_kinesis")`.

The driver finds how far each shard reaches (up to a cap), Spark writes that offset to its checkpoint, and one task a
shard reads exactly up to it. A batch that is replayed therefore holds the same records. Records cross the network
twice per batch: once to find the end, once to be read.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
from pyspark.sql.datasource import DataSource, DataSourceStreamReader, InputPartition

from lakehouse.errors import SettingsError, SourceError
from streaming_jobs.kinesis_source.client import MAX_RECORDS_PER_CALL, StreamClient
from streaming_jobs.kinesis_source.offsets import (
    TRIM_HORIZON,
    Position,
    Positions,
    decode,
    encode,
    first_positions,
    vanished,
    with_ready_children,
    without_finished_ancestors,
)

if TYPE_CHECKING:
    from mypy_boto3_kinesis.type_defs import RecordTypeDef
    from pyspark.sql.types import StructType

SCHEMA: Final = (
    "data BINARY, streamName STRING, shardId STRING, partitionKey STRING, sequenceNumber STRING, "
    "approximateArrivalTimestamp TIMESTAMP"
)
ARROW_SCHEMA: Final = pa.schema(
    [
        ("data", pa.binary()),
        ("streamName", pa.string()),
        ("shardId", pa.string()),
        ("partitionKey", pa.string()),
        ("sequenceNumber", pa.string()),
        ("approximateArrivalTimestamp", pa.timestamp("us", tz="UTC")),
    ]
)


class DataLossError(SourceError):
    """Records left the stream before they were read."""


@dataclass
class ShardRange(InputPartition):
    """The records of one shard after `begin` up to and including sequence number `last`."""

    shard: str
    begin: Position
    last: str


class KinesisStreamReader(DataSourceStreamReader):
    """Plans batches on the driver and reads them in tasks."""

    def __init__(self, options: dict[str, str]) -> None:
        """Keep the options; Spark makes one reader per query and pickles a copy for the tasks."""
        self._stream = options["streamname"]
        self._region = options.get("region")
        self._endpoint = options.get("endpointurl")
        self._start = options.get("startingposition", TRIM_HORIZON).upper()
        self._cap = int(options.get("maxrecordspershard", "50000"))
        self._fail_on_data_loss = options.get("failondataloss", "true").lower() == "true"
        self._reached: Positions | None = None
        if self._start not in {TRIM_HORIZON, "LATEST"}:
            raise SettingsError(
                expected="startingPosition TRIM_HORIZON or LATEST", found=self._start, do="Correct the option."
            )

    def initialOffset(self) -> dict[str, Any]:  # noqa: N802 - Spark's name
        """Return where a query without a checkpoint starts; LATEST becomes a moment, so that it can be replayed."""
        moment = time.time() if self._start == "LATEST" else None
        start = "AT_TIMESTAMP" if self._start == "LATEST" else TRIM_HORIZON
        positions = first_positions(self._client().list_shards(), start=start, timestamp=moment)
        return encode(positions, positions)

    def latestOffset(self) -> dict[str, Any]:  # noqa: N802
        """Return the offset of the next batch, at most the cap beyond the last one in each shard."""
        if self._reached is None:
            _, self._reached = decode(self.initialOffset())
        shards = self._client().list_shards()
        lost = vanished(self._reached, shards)
        if lost and self._fail_on_data_loss:
            raise DataLossError(
                expected=f"shards {', '.join(lost)} of {self._stream}, which were not read to their end",
                found="that the stream no longer has them",
                do="Records are lost. Start again with failOnDataLoss=false to go on without them.",
            )
        kept = {shard: place for shard, place in self._reached.items() if shard not in lost}
        before = with_ready_children(without_finished_ancestors(kept, shards), shards)
        until = {shard: self._find_end(shard, place) for shard, place in before.items()}
        if until == before and self._last_offset is not None and not lost:
            return self._last_offset
        self._reached = until
        self._last_offset = encode(before, until)
        return self._last_offset

    _last_offset: dict[str, Any] | None = None

    def partitions(self, start: dict[str, Any], end: dict[str, Any]) -> list[ShardRange]:  # noqa: ARG002
        """Return one range per shard that has records in the batch; the end offset says where the batch begins."""
        before, until = decode(end)
        if self._reached is None:  # a restart: Spark plans the last logged batch before it asks for a new offset
            self._reached, self._last_offset = until, end
        return [
            ShardRange(shard, before.get(shard, Position()), place.after)
            for shard, place in until.items()
            if place.after is not None and place.after != before.get(shard, Position()).after
        ]

    def read(self, partition: ShardRange) -> Iterator[pa.RecordBatch]:  # type: ignore[override] # ours alone
        """Yield the records of one range; runs in a task.

        Raises:
            DataLossError: The range's last record is no longer in the stream.
        """
        for fetch in self._client().fetch(partition.shard, partition.begin):
            wanted = [record for record in fetch.records if int(record["SequenceNumber"]) <= int(partition.last)]
            if wanted:
                yield self._to_batch(partition.shard, wanted)
            if len(wanted) < len(fetch.records) or (wanted and wanted[-1]["SequenceNumber"] == partition.last):
                return
            if not fetch.records and fetch.millis_behind == 0:
                break
        raise DataLossError(
            expected=f"record {partition.last} of shard {partition.shard} in {self._stream}",
            found="the end of the shard before it",
            do="The records were trimmed or the stream was made anew; a new checkpoint starts over.",
        )

    def _find_end(self, shard: str, begin: Position) -> Position:
        if begin.ended:
            return begin
        last, seen = begin, 0
        for fetch in self._client().fetch(shard, begin, limit=min(self._cap, MAX_RECORDS_PER_CALL)):
            seen += len(fetch.records)
            if fetch.records:
                last = Position(after=fetch.records[-1]["SequenceNumber"])
            if fetch.closed:
                return Position(last.start, last.timestamp, last.after, ended=True)
            if seen >= self._cap or fetch.millis_behind == 0:
                break
        return last

    def _client(self) -> StreamClient:
        return StreamClient(self._stream, region=self._region, endpoint=self._endpoint)

    def _to_batch(self, shard: str, records: list[RecordTypeDef]) -> pa.RecordBatch:
        arrivals = [round(record["ApproximateArrivalTimestamp"].timestamp() * 1_000_000) for record in records]
        columns = [
            pa.array([record["Data"] for record in records], pa.binary()),
            pa.array([self._stream] * len(records), pa.string()),
            pa.array([shard] * len(records), pa.string()),
            pa.array([record["PartitionKey"] for record in records], pa.string()),
            pa.array([record["SequenceNumber"] for record in records], pa.string()),
            pa.array(arrivals, pa.timestamp("us", tz="UTC")),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=ARROW_SCHEMA)


class KinesisSource(DataSource):
    """Registers the source under the name `listenlake_kinesis`."""

    @classmethod
    def name(cls) -> str:
        """Return the format's name; Spark refuses one that a JVM source carries too, so it is our own."""
        return "listenlake_kinesis"

    def schema(self) -> str:
        """Return the columns: the record's bytes and its place in the stream."""
        return SCHEMA

    def streamReader(self, schema: StructType) -> KinesisStreamReader:  # noqa: ARG002, N802
        """Return the reader of one query."""
        # Spark hands a case-insensitive map that only answers to single keys.
        names = ("streamName", "region", "endpointUrl", "startingPosition", "maxRecordsPerShard", "failOnDataLoss")
        found = {name.lower(): self.options.get(name) for name in names}
        if not found["streamname"]:
            raise SettingsError(expected="option streamName", found="none", do="Name the stream to read.")
        return KinesisStreamReader({name: value for name, value in found.items() if value})
