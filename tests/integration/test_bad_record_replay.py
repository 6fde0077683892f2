"""Rejected on purpose, fixed, replayed: through the stream, the sink and both jobs, into DynamoDB, counted once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from lakehouse import layout
from lakehouse.bad_records import Selection, group_records
from lakehouse.batches import list_files
from listenlake.audit import audit
from listenlake.bad_fix import Fix
from listenlake.bad_replay import BadRecordStore
from streaming_jobs.kinesis_source.rows import ARROW_SCHEMA
from tests.integration.laboratory import Lab
from tests.integration.records import CLOCK, song

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from local_cloud.cloud import Cloud

DAY = "2024-06-25"
GOOD = {"user_id": 1, "track_id": "a", "listen_time": f"{DAY}T10:00:00Z"}
RENAMED = [
    {"userId": "2", "track_id": "a", "listen_time": f"{DAY}T10:01:00Z"},
    {"userId": "1", "track_id": "b", "listen_time": f"{DAY}T10:02:00Z"},
    {"userId": "1", "track_id": "a", "listen_time": f"{DAY} 10:00:00"},
]
"""What a producer sends that has renamed a field; the last one is the good listen again."""


class Stream:
    """The laboratory's stream, of one shard, and a reader that goes on where it stopped."""

    def __init__(self, lab: Lab, kinesis: Any) -> None:
        self.lab, self.kinesis = lab, kinesis
        [shard] = kinesis.list_shards(StreamName=lab.places.stream)["Shards"]
        self.shard = shard["ShardId"]
        self.after: dict[str, str] = {"ShardIteratorType": "TRIM_HORIZON"}

    def send(self, *events: dict[str, Any]) -> None:
        entries = [{"Data": json.dumps(event).encode(), "PartitionKey": "k"} for event in events]
        assert not self.kinesis.put_records(StreamName=self.lab.places.stream, Records=entries)["FailedRecordCount"]

    def read(self, *, expected: int) -> DataFrame:
        name = self.lab.places.stream
        iterator = self.kinesis.get_shard_iterator(StreamName=name, ShardId=self.shard, **self.after)["ShardIterator"]
        records = self.kinesis.get_records(ShardIterator=iterator)["Records"]
        assert len(records) == expected
        self.after = {
            "ShardIteratorType": "AFTER_SEQUENCE_NUMBER",
            "StartingSequenceNumber": records[-1]["SequenceNumber"],
        }
        rows = [
            {
                "data": one["Data"],
                "streamName": name,
                "shardId": self.shard,
                "partitionKey": one["PartitionKey"],
                "sequenceNumber": one["SequenceNumber"],
                "approximateArrivalTimestamp": one["ApproximateArrivalTimestamp"],
            }
            for one in records
        ]
        return self.lab.spark.createDataFrame(pa.Table.from_pylist(rows, ARROW_SCHEMA))


@pytest.fixture
def stream(lab: Lab, cloud: Cloud) -> Iterator[Stream]:
    name, kinesis = lab.places.stream, cloud.client("kinesis")
    kinesis.create_stream(StreamName=name, ShardCount=1)
    kinesis.get_waiter("stream_exists").wait(StreamName=name, WaiterConfig={"Delay": 1})
    yield Stream(lab, kinesis)
    kinesis.delete_stream(StreamName=name)


def test_a_group_that_is_fixed_and_replayed_twice_is_counted_once(lab: Lab, stream: Stream) -> None:
    lab.put_users(1, 2)
    lab.put_songs(song(0, "a"), song(1, "b", genre="pop"))
    stream.send(GOOD, *RENAMED)
    lab.ingest(stream.read(expected=4), 0)
    raw = lab.places.raw_bucket
    store = BadRecordStore(s3=lab.s3, kinesis=stream.kinesis, bucket=raw, stream=lab.places.stream, now=lambda: lab.now)
    [group] = group_records(store.read())
    assert (group.reason, group.records) == ("missing_field", 3)
    rejected = audit(lab.s3, lab.dynamodb, lab.places, now=CLOCK).account
    assert (rejected.received, rejected.rejected, rejected.in_flight) == (4, {"missing_field": 3}, 1)

    selection = Selection(fingerprint=group.fingerprint)
    fix = Fix(renames=(("userId", "user_id"),), casts=(("user_id", "integer"),))
    assert store.preview(selection, fix)[0].sent == 3
    assert [store.replay(selection, fix, replay_id=name).sent for name in ("r1", "r2")] == [3, 0]
    # A crash between sending and recording forgets what was sent: the events go out a second time.
    for file, _ in list_files(lab.s3, raw, layout.REPLAYS):
        lab.s3.delete_object(Bucket=raw, Key=file.key)
    assert store.replay(selection, fix, replay_id="r3").sent == 3

    lab.ingest(stream.read(expected=6), 1)
    facts = lab.transform()
    assert (facts["received"], facts["accepted"], facts["duplicates"], facts["rejected"]) == (7, 3, 4, {})
    lab.kpis()
    kpis = [
        (item["track_genre"], item["listen_count"], item["unique_listeners"]) for item in lab.genre_items().values()
    ]
    assert kpis == [("pop", 1, 1), ("rock", 2, 2)]

    found = audit(lab.s3, lab.dynamodb, lab.places, now=CLOCK)
    # The three events that were sent without a record of it are received anew, as duplicates.
    assert (found.account.received, found.account.accepted, found.account.duplicate) == (7, 3, 4)
    assert (found.account.rejected, found.account.recovered, found.is_clean) == ({}, 3, True), found.findings
