"""What the ingestion benchmark reads: streams that it fills, the same events as local files, and the two baselines."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any, Final

from pyspark.sql import SparkSession

from local_cloud.cloud import Cloud

PLAIN_EVENTS: Final = 300_000
AGGREGATED_EVENTS: Final = 3_600_000
EVENTS_A_RECORD: Final = 100
SHARDS: Final = 2
EVENT: Final = (
    '{"event_id":"%032x","user_id":%d,"track_id":"t%06d","listen_time":"2024-06-25T05:44:44.001Z",'
    '"played_ms":12345,"platform":"ios","session_id":"s-1234567"}'
)
TYPED: Final = (
    "event_id STRING, user_id BIGINT, track_id STRING, listen_time TIMESTAMP, played_ms BIGINT, platform STRING, "
    "session_id STRING"
)


def event(number: int) -> bytes:
    """Return one plain event of some 210 bytes."""
    return (EVENT % (number, number % 50_000, number % 9_000)).encode()


def filled(cloud: Cloud, events: Iterable[bytes], events_a_record: int) -> str:
    """Make a stream, put events into it, in JSON lines where a record has several, and return its name."""
    stream = new_stream(cloud)
    kinesis, rest = cloud.client("kinesis"), iter(events)
    at_once = 500 if events_a_record == 1 else 200
    while some := list(islice(rest, at_once * events_a_record)):
        starts = range(0, len(some), events_a_record)
        put(kinesis, stream, [b"\n".join(some[start : start + events_a_record]) for start in starts])
    return stream


def new_stream(cloud: Cloud) -> str:
    """Make an empty stream and return its name."""
    kinesis, stream = cloud.client("kinesis"), f"bench-{uuid.uuid4().hex[:8]}"
    kinesis.create_stream(StreamName=stream, ShardCount=SHARDS)
    kinesis.get_waiter("stream_exists").wait(StreamName=stream, WaiterConfig={"Delay": 1})
    return stream


def put(kinesis: Any, stream: str, records: list[bytes]) -> None:
    """Put records in one call, each under a key of its own."""
    entries = [{"Data": data, "PartitionKey": str(number)} for number, data in enumerate(records)]
    if kinesis.put_records(StreamName=stream, Records=entries)["FailedRecordCount"]:
        raise AssertionError("expected the emulator to take every record")


def local_files(folder: Path) -> list[str]:
    """Write the aggregated stream's events as JSON files, one for each shard."""
    size = AGGREGATED_EVENTS // SHARDS
    files = [folder / f"part-{part}.json" for part in range(SHARDS)]
    for part, file in enumerate(files):
        file.write_bytes(b"\n".join(event(number) for number in range(part * size, (part + 1) * size)))
    return [f"file:{file}" for file in files]


def read_files(spark: SparkSession, files: list[str], folder: Path) -> None:
    """Let Spark read the files with a schema, judge nothing, and write parquet."""
    frame = spark.read.schema(TYPED).json(files)
    frame.write.mode("overwrite").parquet(f"file:{folder}/as-parquet")


def loop(cloud: Cloud, stream: str) -> None:
    """Fetch every record of a stream with `boto3` alone, and do nothing with it."""
    kinesis, found = cloud.client("kinesis"), 0
    for shard in kinesis.list_shards(StreamName=stream)["Shards"]:
        place = {"StreamName": stream, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
        iterator = kinesis.get_shard_iterator(**place)["ShardIterator"]
        while True:
            answer = kinesis.get_records(ShardIterator=iterator, Limit=10_000)
            found += len(answer["Records"])
            if not answer["Records"]:
                break
            iterator = answer["NextShardIterator"]
    if found != PLAIN_EVENTS:
        raise AssertionError(f"expected {PLAIN_EVENTS} records, found {found}")
