"""A checkpoint written by an earlier release of the job is read on as if nothing had changed.

`checkpoints/f114495` is what that commit wrote after its first batch. Sequence numbers are the stream's own, so the
test puts those of a new stream in their places and leaves every other byte as it was.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from streaming_jobs.kinesis_source import KinesisSource

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from local_cloud.cloud import Cloud

OLD: Final = Path(__file__).parent / "checkpoints" / "f114495"
LAST_READ: Final = {
    "shardId-000000000000": "000000017955885258050000000024",
    "shardId-000000000001": "000000017955885258050000000021",
}
"""Where the old release stood, as its offset names it."""
DEADLINE_SECONDS: Final = 90.0


def fill(cloud: Cloud, stream: str, numbers: range) -> dict[str, str]:
    """Send numbers and return the last sequence number of each shard."""
    entries = [{"Data": str(number).encode(), "PartitionKey": f"key {number}"} for number in numbers]
    answer = cloud.client("kinesis").put_records(StreamName=stream, Records=entries)
    assert answer["FailedRecordCount"] == 0
    return {one["ShardId"]: one["SequenceNumber"] for one in answer["Records"]}


@pytest.mark.parametrize("committed", [True, False], ids=["committed", "planned and not committed"])
def test_the_next_release_goes_on_where_the_previous_one_stopped(
    spark: SparkSession, cloud: Cloud, tmp_path: Path, *, committed: bool
) -> None:
    stream, kinesis = f"t-{uuid.uuid4().hex[:10]}", cloud.client("kinesis")
    kinesis.create_stream(StreamName=stream, ShardCount=2)
    kinesis.get_waiter("stream_exists").wait(StreamName=stream, WaiterConfig={"Delay": 1})
    reached = fill(cloud, stream, range(20))
    offset = (OLD / "offsets-0.txt").read_text()
    for shard, number in LAST_READ.items():
        assert offset.count(number) == 1
        offset = offset.replace(number, reached[shard])
    files = {"metadata": (OLD / "metadata.txt").read_text(), "offsets/0": offset}
    if committed:
        files["commits/0"] = (OLD / "commits-0.txt").read_text()
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "commits").mkdir(exist_ok=True)
    fill(cloud, stream, range(20, 30))

    batches: dict[int, list[int]] = {}

    def keep(records: DataFrame, number: int) -> None:
        batches[number] = [int(value) for value in records.toArrow()["data"].to_pylist()]

    spark.dataSource.register(KinesisSource)
    source = spark.readStream.format(KinesisSource.name()).options(
        streamName=stream,
        endpointUrl=cloud.record.endpoint,
        region="us-east-1",
        progressLocation=f"file:{tmp_path}/kinesis",
    )
    query = source.load().writeStream.foreachBatch(keep).option("checkpointLocation", f"file:{tmp_path}").start()
    try:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while 29 not in [number for batch in batches.values() for number in batch]:
            failure = query.exception()
            if failure is not None:
                raise failure
            assert time.monotonic() < deadline, query.lastProgress
            time.sleep(0.1)
    finally:
        query.stop()
        kinesis.delete_stream(StreamName=stream)
    found = Counter(number for batch in batches.values() for number in batch)
    assert found == Counter(range(20 if committed else 0, 30))
    if not committed:
        assert sorted(batches[0]) == list(range(20)), "the planned batch is replayed as it was planned"
