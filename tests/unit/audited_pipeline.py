"""A small pipeline at rest, put together by hand: what the jobs would leave there, and what a producer knows of it."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from functools import partial
from types import SimpleNamespace
from typing import Any

import boto3
import pyarrow as pa
from boto3.dynamodb.types import TypeSerializer

from lakehouse import layout
from lakehouse.batches import BatchFile, BatchId, Manifest
from tests.integration.laboratory import Lab, make_lab
from tests.integration.records import ARRIVAL, PROCESSED_SCHEMA, listen, to_parquet

DAY, LATER = "2024-06-25", "2024-06-26"
SHARD = "shardId-000000000000"
ENRICHMENT_REJECTS = f"{layout.BAD_RECORDS}{layout.TRANSFORM_JOB}/generation=0b6e/batch=1/part-0.json"


def make_pipeline() -> Lab:
    """Empty buckets and tables in this process."""
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


def rejects_key(batch: BatchId) -> str:
    """Where the rejects of a batch lie."""
    return f"{layout.BAD_RECORDS}{layout.INGEST_JOB}/{batch.path}attempt=a/part-0.json"


def archive(
    lab: Lab, batch: BatchId, name: str, body: bytes, rows: int | None, *, rejects: list[dict[str, Any]] | None = None
) -> None:
    """A batch that is merged and archived, with its rejects in `bad-records/`."""
    etag = lab.put(f"{layout.ARCHIVES}{batch.path}{name}", body)
    key = f"{layout.PROCESSED}{name if batch.generation == 'by-hand' else batch.path + name}"
    files = (BatchFile(key, len(body), etag),)
    aside: tuple[BatchFile, ...] = ()
    if rejects:
        key, lines = rejects_key(batch), "".join(json.dumps(one) + "\n" for one in rejects)
        aside = (BatchFile(key, len(lines), lab.put(key, lines)),)
    manifest = Manifest(
        id=batch,
        attempt="a",
        files=files,
        rejects=aside,
        rows=rows,
        rejected=dict(Counter(one["reason"] for one in rejects or [])),
        committed_at=ARRIVAL,
    )
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
    malformed = {"shard_id": SHARD, "sequence_number": "9", "line": 1, "reason": "invalid_json"}
    for number, some, rejects in ((0, rows[:4], []), (1, rows[4:], [malformed])):
        body = to_parquet(pa.Table.from_pylist(some, PROCESSED_SCHEMA))
        batch = BatchId("0b6e", str(number))
        archive(lab, batch, "attempt=a/part-0.parquet", body, len(some), rejects=rejects)
    by_hand = pa.table({"user_id": [1], "track_id": ["b"], "listen_time": [f"{DAY}T12:00:00+02:00"]})
    archive(lab, BatchId("by-hand", "drop-1"), "drop.parquet", to_parquet(by_hand), None)
    waiting = (listen(1, "a", f"{DAY}T23:00:00", sequence=8), "accepted")
    lab.put_batch(2, waiting[0])
    payload = {**rows[4], "listen_time": rows[4]["listen_time"].isoformat()}
    place = {name: rows[4][name] for name in ("stream", "shard_id", "sequence_number", "line")}
    reject = {"reason": "unknown_user", "payload": json.dumps(payload, default=str), **place}
    lab.put(ENRICHMENT_REJECTS, json.dumps(reject))
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
