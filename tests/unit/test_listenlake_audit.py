"""An audit of a small pipeline put together by hand: whatever stage is tampered with is named, with its minute."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from types import SimpleNamespace
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from boto3.dynamodb.types import TypeSerializer

from lakehouse import layout
from lakehouse.batches import BatchFile, BatchId, Manifest
from lakehouse.control import Progress
from lakehouse.delta_log import DeltaLogError, read_snapshot
from listenlake.audit import audit
from listenlake.table_states import describe_tables
from tests.integration.spark_fixtures import ARRIVAL, PROCESSED_SCHEMA, Lab, listen, make_lab, to_parquet

DAY, LATER = "2024-06-25", "2024-06-26"
MINUTE = f"{DAY}T10:07"
Findings = list[tuple[str, str, str]]


@pytest.fixture
def lab(aws: None) -> Lab:
    """Buckets and tables in this process; what the jobs would leave there is written by hand."""
    unused: Any = None
    cloud: Any = SimpleNamespace(client=partial(boto3.client, region_name="us-east-1"))
    return make_lab(cloud, unused)


def put_table(lab: Lab, bucket: str, prefix: str, files: dict[str, pa.Table]) -> None:
    """A Delta table of one commit; the folder of a file is its partition."""
    lines = []
    for path, table in files.items():
        body = to_parquet(table)
        lab.put(prefix + path, body, bucket=bucket)
        partition = dict([path.split("/")[0].split("=")]) if "=" in path else {}
        lines.append(json.dumps({"add": {"path": path, "size": len(body), "partitionValues": partition}}))
    lab.put(f"{prefix}_delta_log/{0:020d}.json", "\n".join(lines), bucket=bucket)


def archive(lab: Lab, batch: BatchId, name: str, body: bytes, rows: int | None) -> None:
    """A batch that is merged and archived."""
    etag = lab.put(f"{layout.ARCHIVES}{batch.path}{name}", body)
    key = f"{layout.PROCESSED}{name if batch.generation == 'by-hand' else batch.path + name}"
    files = (BatchFile(key, len(body), etag),)
    manifest = Manifest(id=batch, attempt="a", files=files, rows=rows, committed_at=ARRIVAL)
    lab.put(f"{layout.ARCHIVES}{batch.path}{layout.MANIFEST}", manifest.to_json())


def genre(name: str, listens: int, listeners: int, track: str) -> dict[str, Any]:
    """A KPI row of listens of one track of one second."""
    song = {"rank": 1, "track_id": track, "track_name": f"name of {track}", "artists": None, "plays": listens}
    average = Decimal(listens * 1000 // listeners).quantize(Decimal("0.01"))
    return {
        "track_genre": name,
        "listen_count": listens,
        "unique_listeners": listeners,
        "total_listening_time_ms": listens * 1000,
        "avg_listening_time_per_user_ms": average,
        "top_songs": [song],
    }


def build(lab: Lab) -> pa.Table:
    """Two merged batches with a duplicate and two rejects, one file by hand, one batch that waits; their KPIs.

    Returns:
        What a producer would know of it, written down by hand.
    """
    deliveries = [
        (listen(1, "a", f"{DAY}T10:07:01", sequence=1), "accepted"),
        (listen(1, "b", f"{DAY}T10:07:02", sequence=2), "accepted"),
        (listen(2, "a", f"{DAY}T10:08:03", sequence=3), "accepted"),
        (listen(1, "a", f"{DAY}T10:07:01", sequence=4), "duplicate"),
        (listen(9, "a", f"{DAY}T10:07:04", sequence=5), "unknown_user"),
        (listen(2, "c", f"{LATER}T00:00:00", sequence=6), "accepted"),
        (listen(2, "b", f"{LATER}T00:00:01", sequence=7), "accepted"),
    ]
    rows = [row for row, _ in deliveries]
    for number, some in ((0, rows[:4]), (1, rows[4:])):
        body = to_parquet(pa.Table.from_pylist(some, PROCESSED_SCHEMA))
        archive(lab, BatchId("0b6e", str(number)), "attempt=a/part-0.parquet", body, len(some))
    by_hand = pa.table({"user_id": [1], "track_id": ["b"], "listen_time": [f"{DAY}T12:00:00+02:00"]})
    archive(lab, BatchId("by-hand", "drop-1"), "drop.parquet", to_parquet(by_hand), None)
    waiting = (listen(1, "a", f"{DAY}T23:00:00", sequence=8), "accepted")
    lab.put_batch(2, waiting[0])
    payload = {**rows[4], "listen_time": rows[4]["listen_time"].isoformat()}
    reject = {"reason": "unknown_user", "payload": json.dumps(payload, default=str)}
    lab.put(f"{layout.BAD_RECORDS}{layout.TRANSFORM_JOB}/generation=0b6e/batch=1/part-0.json", json.dumps(reject))
    genres, lengths = {"a": "rock", "b": "pop", "c": "jazz"}, {"a": 1000, "b": 1000, "c": 0}
    merged = [row for row, outcome in deliveries if outcome == "accepted"] + [listen(1, "b", f"{DAY}T10:00:00")]
    more = {row["event_id"]: {"track_genre": genres[row["track_id"]], "track_name": "x"} for row in merged}
    curated = [{**row, **more[row["event_id"]], "duration_ms": lengths[row["track_id"]]} for row in merged]
    text, number = pa.string(), pa.int64()
    schema = PROCESSED_SCHEMA
    for name, kind in (("track_genre", text), ("track_name", text), ("duration_ms", number)):
        schema = schema.append(pa.field(name, kind))
    put_table(
        lab,
        lab.places.curated_bucket,
        layout.LATEST,
        {
            f"listen_date={DAY}/part-0.parquet": pa.Table.from_pylist(curated[:3], schema),
            f"listen_date={DAY}/part-1.parquet": pa.Table.from_pylist(curated[5:], schema),
            f"listen_date={LATER}/part-0.parquet": pa.Table.from_pylist(curated[3:5], schema),
        },
    )
    put_kpis(lab)
    malformed = {"shard_id": "shardId-000000000000", "sequence_number": "9", "line": 1, "reason": "invalid_json"}
    folder = f"{layout.BAD_RECORDS}{layout.INGEST_JOB}/generation=0b6e/batch=1/attempt=a/"
    lab.put(f"{folder}part-0.json", json.dumps(malformed) + "\n")
    names = ("event_id", "user_id", "track_id", "listen_time", "shard_id", "sequence_number", "line")
    known: list[dict[str, Any]] = [
        {**{name: row[name] for name in names}, "outcome": outcome} for row, outcome in [*deliveries, waiting]
    ]
    known.append({**malformed, "outcome": "invalid_json"})
    for record in known:
        record.update(acknowledged=True, acknowledged_at=1719309600.0)
    schema = pa.schema(
        [
            ("event_id", pa.string()),
            ("user_id", pa.int64()),
            ("track_id", pa.string()),
            ("listen_time", pa.timestamp("us", tz="UTC")),
            ("shard_id", pa.string()),
            ("sequence_number", pa.string()),
            ("line", pa.int32()),
            ("outcome", pa.string()),
            ("acknowledged", pa.bool_()),
            ("acknowledged_at", pa.float64()),
        ]
    )
    table = pa.Table.from_pylist(known, schema)
    naive = table["listen_time"].cast(pa.timestamp("us"))
    return table.set_column(table.column_names.index("listen_time"), "listen_time", naive)


def put_kpis(lab: Lab) -> None:
    """The presentation tables and both DynamoDB tables."""
    bucket, serialize = lab.places.presentation_bucket, TypeSerializer().serialize
    days = {DAY: [genre("rock", 2, 2, "a"), genre("pop", 2, 1, "b")], LATER: [genre("pop", 1, 1, "b")]}
    put_table(
        lab,
        bucket,
        layout.DAILY_LISTENS,
        {f"listen_date={day}/part-0.parquet": pa.Table.from_pylist(rows) for day, rows in days.items()},
    )
    tops = {DAY: [("pop", 2), ("rock", 2)], LATER: [("pop", 1)]}
    charts = [
        {
            "listen_date": day,
            "top_genres": [
                {"rank": rank, "track_genre": name, "listen_count": n} for rank, (name, n) in enumerate(chart, 1)
            ],
        }
        for day, chart in tops.items()
    ]
    put_table(lab, bucket, layout.TOP_GENRES, {"part-0.parquet": pa.Table.from_pylist(charts)})
    items = [(lab.places.top_genres_table, chart) for chart in charts]
    items += [
        (lab.places.daily_listens_table, {"listen_date": day, **row}) for day, rows in days.items() for row in rows
    ]
    for table, item in items:
        lab.dynamodb.put_item(TableName=table, Item={name: serialize(value) for name, value in item.items()})


def findings(lab: Lab, records: pa.Table | None) -> Findings:
    report = audit(lab.s3, lab.dynamodb, lab.places, records=records)
    assert report.is_clean == (not report.findings)
    return [(found.stage, f"{found.at} {found.key}".strip(), found.what) for found in report.findings]


def rewrite(lab: Lab, bucket: str, key: str, change: Callable[[pa.Table], pa.Table]) -> Callable[[], None]:
    """Replace a parquet file by what `change` makes of it; returns what puts it back."""
    body = lab.read(key, bucket=bucket)
    lab.put(key, to_parquet(change(pq.read_table(io.BytesIO(body)))), bucket=bucket)

    def put_back() -> None:
        lab.put(key, body, bucket=bucket)

    return put_back


def holding(lab: Lab, bucket: str, keys: list[str], column: str, value: Any) -> str:
    """The one file of these that has `value` in `column`."""
    for key in keys:
        table = pq.read_table(io.BytesIO(lab.read(key, bucket=bucket)))
        if column in table.column_names and value in table[column].to_pylist():
            return key
    raise AssertionError(f"no file with {column} = {value}")


def without_first(table: pa.Table) -> pa.Table:
    return table.slice(1)


def first_twice(table: pa.Table) -> pa.Table:
    return pa.concat_tables([table.slice(0, 1), table])


def first_is_another(table: pa.Table) -> pa.Table:
    """As many rows at the same minute, but one is another event."""
    ids = table["event_id"].to_pylist()
    return table.set_column(table.column_names.index("event_id"), "event_id", pa.array(["swapped", *ids[1:]]))


def of_first(change: Callable[[pa.Table], pa.Table]) -> Callable[[pa.Table], pa.Table]:
    """The change applied after the rows are put in order of time."""
    return lambda table: change(table.take(pc.sort_indices(table, sort_keys=[("listen_time", "ascending")])))


def test_each_stage_that_is_tampered_with_is_named_with_its_minute(lab: Lab) -> None:
    records = build(lab)
    raw, curated = lab.places.raw_bucket, lab.places.curated_bucket
    presentation = lab.places.presentation_bucket
    report = audit(lab.s3, lab.dynamodb, lab.places, records=records)
    assert (report.findings, report.in_flight) == ([], 1)
    assert [(stage["stage"], stage["rows"]) for stage in report.stages] == [
        ("acknowledged", 8),
        ("processed-streams and archives", 9),
        ("curated", 6),
        ("kpis", 5),
        ("dynamodb", 5),
    ]
    assert report.stages[3]["hash"] == report.stages[4]["hash"]
    assert findings(lab, None) == [], "without a truth the manifests' own account begins"

    batch = "generation=0b6e/batch=0/"
    committed = "2024-06-30T12:00"
    archived = holding(
        lab, raw, [k for k in lab.keys(layout.ARCHIVES) if k.endswith(".parquet")], "sequence_number", "1"
    )
    for change, what in ((without_first, "lost"), (first_twice, "doubled"), (first_is_another, "changed")):
        put_back = rewrite(lab, raw, archived, change)
        found = findings(lab, records)
        assert ("processed-streams", MINUTE, what) in found, what
        account = ("archives", f"{committed} {batch}", what)
        assert (account in found) == (what != "changed")
        if what == "changed":
            assert ("curated", MINUTE, "doubled") not in found
            assert ("curated", MINUTE, "lost") in findings(lab, None), "the next stage lacks what was put in"
        put_back()

    files = sorted(read_snapshot(lab.s3, curated, layout.LATEST).files)  # type: ignore[union-attr]
    merged = holding(lab, curated, files, "event_id", records["event_id"][0].as_py())
    for change, what in ((without_first, "lost"), (first_twice, "doubled"), (first_is_another, "changed")):
        put_back = rewrite(lab, curated, merged, of_first(change))
        found = findings(lab, records)
        assert ("curated", MINUTE, what) in found, what
        assert not [one for one in found if one[0] in {"processed-streams", "bad-records", "archives"}]
        put_back()

    bad = f"{layout.BAD_RECORDS}{layout.INGEST_JOB}/generation=0b6e/batch=1/attempt=a/part-0.json"
    body = lab.read(bad)
    lab.put(bad, b"")
    assert findings(lab, records) == [("bad-records", "2024-06-25T10:00", "lost")]
    lab.put(bad, body * 2)
    assert findings(lab, records) == [("bad-records", "2024-06-25T10:00", "doubled")]
    lab.put(bad, body)

    check_kpis(lab, presentation, records)
    check_items(lab, records)
    assert findings(lab, records) == [], "everything was put back"
    check_losses(lab, records)


def check_kpis(lab: Lab, bucket: str, records: pa.Table) -> None:
    files = sorted(read_snapshot(lab.s3, bucket, layout.DAILY_LISTENS).files)  # type: ignore[union-attr]
    rock = holding(lab, bucket, [key for key in files if DAY in key], "track_genre", "rock")

    def only_rock(change: Callable[[dict[str, Any]], list[dict[str, Any]]]) -> Callable[[pa.Table], pa.Table]:
        return lambda table: pa.Table.from_pylist(
            [new for row in table.to_pylist() for new in (change(row) if row["track_genre"] == "rock" else [row])],
            table.schema,
        )

    tampers: list[tuple[Callable[[dict[str, Any]], list[dict[str, Any]]], str]] = [
        (lambda _: [], "lost"),
        (lambda row: [row, row], "doubled"),
        (lambda row: [{**row, "unique_listeners": 7}], "changed"),
        (lambda row: [{**row, "top_songs": [{**row["top_songs"][0], "track_id": "b"}]}], "changed"),
    ]
    for change, what in tampers:
        put_back = rewrite(lab, bucket, rock, only_rock(change))
        assert ("kpis", f"{DAY} rock", what) in findings(lab, records), what
        put_back()


def check_items(lab: Lab, records: pa.Table) -> None:
    table, serialize = lab.places.daily_listens_table, TypeSerializer().serialize

    def put(item: dict[str, Any]) -> None:
        lab.dynamodb.put_item(TableName=table, Item={name: serialize(value) for name, value in item.items()})

    item = lab.genre_items()[DAY, "rock"]
    key = {name: serialize(item[name]) for name in ("track_genre", "listen_date")}
    lab.dynamodb.delete_item(TableName=table, Key=key)
    assert findings(lab, records) == [("dynamodb", f"{DAY} rock", "lost")]
    put({**item, "listen_count": item["listen_count"] + 1})
    assert findings(lab, records) == [("dynamodb", f"{DAY} rock", "changed")]
    put(item)
    put({**item, "track_genre": "polka"})
    assert findings(lab, records) == [("dynamodb", f"{DAY} polka", "unexpected")]
    put({"track_genre": "polka", "listen_date": DAY, "deleted": True, "source_version": 9})
    assert findings(lab, records) == [], "a tombstone is no item"


def test_the_state_of_each_table_is_told(lab: Lab) -> None:
    build(lab)
    Progress(lab.dynamodb, lab.places.control_table).advance("served#daily_listens", version=0, run_id="r")
    states = {one.table: one for one in describe_tables(lab.s3, lab.dynamodb, lab.places)}
    assert set(states) == {"transformed_data_latest", "daily_listens", "top_genres"}, "no archive is there yet"
    curated = states["transformed_data_latest"]
    assert (curated.version, curated.checkpoint, curated.read_up_to) == (0, -1, None)
    assert (curated.dates, curated.first_date, curated.last_date) == (2, DAY, LATER)
    assert (curated.files, curated.most_files_of_a_date) == (3, 2)
    keys = [key for key in lab.keys(layout.LATEST, bucket=lab.places.curated_bucket) if key.endswith(".parquet")]
    assert curated.bytes == sum(len(lab.read(key, bucket=lab.places.curated_bucket)) for key in keys)
    assert states["daily_listens"].read_up_to == 0
    assert states["top_genres"].dates is None


def check_losses(lab: Lab, records: pa.Table) -> None:
    """An acknowledged event that never arrived, a batch whose file is gone, a Delta log with a hole."""
    one = records.slice(2, 1)
    ghost = one.set_column(one.column_names.index("sequence_number"), "sequence_number", pa.array(["99"]))
    assert findings(lab, pa.concat_tables([records, ghost])) == [("processed-streams", f"{DAY}T10:08", "lost")]
    gone = [key for key in lab.keys(layout.PROCESSED) if key.endswith(".parquet")]
    lab.s3.delete_object(Bucket=lab.places.raw_bucket, Key=gone[0])
    assert findings(lab, None) == [("processed-streams", "2024-06-30T12:00 generation=0b6e/batch=2/", "lost")]
    manifest = Manifest.from_json(lab.read(f"{layout.ARCHIVES}generation=0b6e/batch=0/{layout.MANIFEST}"))
    assert manifest.rows == 4
    assert read_snapshot(lab.s3, lab.places.curated_bucket, "nothing/") is None
    lab.put(f"{layout.LATEST}_delta_log/{2:020d}.json", b"", bucket=lab.places.curated_bucket)
    with pytest.raises(DeltaLogError, match="no commit 1"):
        audit(lab.s3, lab.dynamodb, lab.places)
