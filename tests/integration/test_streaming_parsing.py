"""The parser within Spark: a frame is judged as its Arrow batches are, and the id in SQL is the id in Python."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import functions as F

from lakehouse.bad_records import BadRecord
from lakehouse.batches import BatchId
from lakehouse.events import derive_event_id, event_id_sql
from lakehouse.jobs import Report
from lakehouse.settings import IngestSettings
from lakehouse.tables import PROCESSED_LISTENS
from streaming_jobs.kinesis_source.rows import ARROW_SCHEMA
from streaming_jobs.outcome_files import PartWriter
from streaming_jobs.parsing import PARSED, parse_batches, placed
from tests.integration.laboratory import Lab
from tests.payloads import ACCEPTED, ARRIVED, REJECTED, good

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

BATCH: Final = BatchId("g", "1")


def test_a_frame_is_judged_as_its_batches_are(lab: Lab, spark: SparkSession) -> None:
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
    with lab.leased(lab.settings(IngestSettings)) as run:
        writer = PartWriter(run=run, batch=BATCH, report=Report())
        part = writer.write(placed(spark.createDataFrame(records)), "attempt=1/", parse_batches)

    def place(row: dict[str, Any]) -> tuple[int, object]:
        return int(row["sequence_number"]), row["line"]

    [file] = part.listens
    listens = pq.read_table(io.BytesIO(lab.read(file.key))).to_pylist(maps_as_pydicts="strict")
    assert file.key.startswith("processed-streams/generation=g/batch=1/attempt=1/")
    assert {place(row): row for row in listens} == {
        place(row): {name: row[name] for name in PROCESSED_LISTENS.columns}
        for row in expected
        if row["reject_reason"] is None
    }
    [file] = part.rejects
    rejects = [BadRecord.from_json(line) for line in lab.read(file.key).splitlines()]
    assert file.key.startswith("bad-records/ingest_listens/generation=g/batch=1/attempt=1/")
    assert {
        (int(one.position.sequence_number), one.position.line): (one.reason, one.message, one.event_id, one.arrived_at)
        for one in rejects
    } == {
        place(row): (row["reject_reason"], row["reject_message"], row["event_id"], ARRIVED)
        for row in expected
        if row["reject_reason"]
    }
    assert all(one.data == payloads[int(one.position.sequence_number)] for one in rejects), "payloads are kept in full"
    assert {(one.position.stream, one.source_batch) for one in rejects} == {("listens", BATCH.path)}
    assert len(listens) + len(rejects) == len(expected) == len(payloads) + 1
    assert sum(content.rows for content in part.contents.values()) == len(expected)


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
