"""The parser within Spark: a frame is parsed as its Arrow batches are, and the id in SQL is the id in Python."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import functions as F

from lakehouse.events import derive_event_id, event_id_sql
from lakehouse.tables import PROCESSED_LISTENS
from streaming_jobs.kinesis_source.rows import ARROW_SCHEMA
from streaming_jobs.parsing import PARSED, accepted_listens, parse_batches, parse_records, rejected_records
from tests.payloads import ACCEPTED, ARRIVED, REJECTED, good

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

BATCH = "generation=g/batch=1/"


def test_a_frame_is_parsed_as_its_batches_are(spark: SparkSession) -> None:
    payloads = [payload for payload, _ in (*ACCEPTED.values(), *REJECTED.values())]
    payloads += [good(user_id=1) + b"\n" + good(user_id=2), good(note={"a": 1.50})]
    rows = [
        {
            "data": payload,
            "streamName": "listens",
            "shardId": f"shard-{position % 3}",
            "partitionKey": "k",
            "sequenceNumber": str(position),
            "approximateArrivalTimestamp": ARRIVED,
        }
        for position, payload in enumerate(payloads)
    ]
    records = pa.Table.from_pylist(rows, ARROW_SCHEMA)
    ours = records.select([0, 1, 2, 4, 5]).rename_columns(
        ["data", "stream", "shard_id", "sequence_number", "arrived_at"]
    )
    expected = pa.Table.from_batches(parse_batches(ours.to_batches()), PARSED).to_pylist(maps_as_pydicts="strict")
    parsed = parse_records(spark.createDataFrame(records)).persist()
    listens = accepted_listens(parsed).toArrow().to_pylist(maps_as_pydicts="strict")
    rejects = rejected_records(parsed, BATCH).toArrow().to_pylist()
    parsed.unpersist()

    def place(row: dict[str, object]) -> tuple[int, object]:
        return int(str(row["sequence_number"])), row["line"]

    assert {place(row): row for row in listens} == {
        place(row): {name: row[name] for name in PROCESSED_LISTENS.columns}
        for row in expected
        if row["reject_reason"] is None
    }
    assert {
        place(row): (row["reason"], row["message"], row["event_id"], row["stream"], row["arrived_at"])
        for row in rejects
    } == {
        place(row): (row["reject_reason"], row["reject_message"], row["event_id"], "listens", ARRIVED)
        for row in expected
        if row["reject_reason"]
    }
    for row in rejects:
        kept = base64.b64decode(row["payload_base64"]) if row["payload"] is None else row["payload"].encode()
        assert kept == payloads[place(row)[0]], "the payload is kept in full"
        assert row["source_batch"] == BATCH
    assert len(listens) + len(rejects) == len(expected) == len(payloads) + 1


event = st.tuples(
    st.integers(-(2**63), 2**63 - 1),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=64),
    st.datetimes(datetime(2000, 1, 1), datetime(2199, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001 - see timezones
)


@settings(max_examples=4, deadline=None)
@given(events=st.lists(event, min_size=1, max_size=300))
def test_the_id_in_sql_equals_the_id_in_python(spark: SparkSession, events: list[tuple[int, str, datetime]]) -> None:
    names = ("user_id", "track_id", "listen_time")
    table = pa.Table.from_pylist(
        [dict(zip(names, one, strict=True)) for one in events],
        pa.schema([("user_id", pa.int64()), ("track_id", pa.string()), ("listen_time", pa.timestamp("us", tz="UTC"))]),
    )
    found = spark.createDataFrame(table).select(F.expr(event_id_sql()).alias("id")).toArrow()["id"].to_pylist()
    assert found == [derive_event_id(*one) for one in events]
