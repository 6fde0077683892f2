"""The columns of the source, and an answer of Kinesis as an Arrow batch of them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow as pa

if TYPE_CHECKING:
    from streaming_jobs.kinesis_source.client import Fetch

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


def to_batch(stream: str, shard: str, fetch: Fetch) -> pa.RecordBatch:
    """Return the records of one answer. One row per record."""
    count = len(fetch.data)
    columns = [
        pa.array(fetch.data, pa.binary()),
        pa.repeat(pa.scalar(stream), count),
        pa.repeat(pa.scalar(shard), count),
        pa.array(fetch.keys, pa.string()),
        pa.array(fetch.numbers, pa.string()),
        pa.array(fetch.arrivals, pa.timestamp("us", tz="UTC")),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=ARROW_SCHEMA)
