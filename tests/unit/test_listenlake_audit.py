"""An audit of a small pipeline put together by hand: whatever stage is tampered with is named, with its minute."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from boto3.dynamodb.types import TypeSerializer

from lakehouse import layout
from lakehouse.batches import BatchId, Manifest
from lakehouse.control import Progress
from lakehouse.delta_log import DeltaLogError, read_snapshot
from listenlake.audit import audit
from listenlake.table_states import describe_tables
from tests.integration.laboratory import Lab
from tests.integration.records import CLOCK, to_parquet
from tests.unit.audited_pipeline import DAY, LATER, build, make_pipeline, rejects_key

MINUTE = f"{DAY}T10:07"
Findings = list[tuple[str, str, str]]


@pytest.fixture
def lab(aws: None) -> Lab:
    """Buckets and tables in this process; what the jobs would leave there is written by hand."""
    return make_pipeline()


def findings(lab: Lab, records: pa.Table | None) -> Findings:
    report = audit(lab.s3, lab.dynamodb, lab.places, now=CLOCK, records=records)
    assert report.is_clean == (not report.findings and report.account.closes)
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
    report = audit(lab.s3, lab.dynamodb, lab.places, now=CLOCK, records=records)
    assert (report.findings, report.account.in_flight) == ([], 1)
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

    bad = rejects_key(BatchId("0b6e", "1"))
    body = lab.read(bad)
    by_manifest = f"{committed} generation=0b6e/batch=1/"
    for tampered, what in ((b"", "lost"), (body * 2, "doubled")):
        lab.put(bad, tampered)
        assert findings(lab, None) == [("bad-records", by_manifest, what)]
        assert findings(lab, records)[1:] == [("bad-records", "2024-06-25T10:00", what)]
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
        audit(lab.s3, lab.dynamodb, lab.places, now=CLOCK)
