"""What `listenlake status` says of ingestion: batches from the control table (moto), lag from the journal on S3."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from lakehouse import layout
from lakehouse.batch_reports import BatchReport, BatchReports
from lakehouse.batches import BatchId, Manifest
from listenlake import status_commands
from listenlake.cli import app
from listenlake.connection import Connection
from listenlake.ingestion import describe_ingestion
from streaming_jobs.kinesis_source.offsets import Plan, Position
from streaming_jobs.kinesis_source.reader import ends_name, plan_name
from streaming_jobs.kinesis_source.reading import ShardEnd, encode_ends

if TYPE_CHECKING:
    from pathlib import Path


NOW = datetime(2024, 6, 26, 12, 0, 0, tzinfo=UTC)


def batch(number: int, committed_at: datetime, **others: Any) -> BatchReport:
    figures: dict[str, Any] = {"accepted": 10, "rejected": {}, "payload_bytes": 1_000, "lag_seconds": 2.0}
    return BatchReport(batch=f"generation=g/batch={number}/", committed_at=committed_at, **(figures | others))


def fill(connection: Connection) -> BatchReports:
    """A batch of yesterday, two of today, one that only its manifest told of."""
    reports = BatchReports(connection.client("dynamodb"), connection.places.control_table, layout.INGEST_JOB)
    reports.publish(batch(1, NOW - timedelta(hours=24, seconds=1)))
    reports.publish(batch(2, NOW - timedelta(hours=9), rejected={"oversize": 1}, seconds={"write": 0.5}))
    told = batch(
        10, NOW, rejected={"oversize": 2, "invalid_json": 4}, lag_seconds=7.5, seconds={"write": 1.0, "commit": 0.1}
    )
    reports.publish(told)
    manifest = Manifest(
        id=BatchId("g", "9"),
        attempt="a",
        files=(),
        rows=5,
        rejected={"oversize": 1},
        committed_at=NOW - timedelta(hours=1),
    )
    reports.publish(BatchReport.of(manifest))
    return reports


def put_journal(connection: Connection) -> None:
    """Two batches as the source writes them down; the newer one ended behind the tip of one of its shards."""
    for serial, millis in ((1, 9_000), (2, 4_200)):
        plan = Plan(epoch="e", serial=serial, begin={"a": Position(), "b": Position()}, tasks=(("a",), ("b",)))
        texts = {plan_name("e", serial): json.dumps(plan.to_offset())}
        for task, (shard, behind) in enumerate((("a", millis), ("b", 0))):
            end = ShardEnd(position=Position(after="7"), records=3, millis_behind=behind)
            texts[ends_name("e", serial, task)] = encode_ends({shard: end})
        for name, text in texts.items():
            key = f"{layout.INGEST_PROGRESS}{name}"
            connection.client("s3").put_object(Bucket=connection.places.raw_bucket, Key=key, Body=text.encode())


def test_the_newest_batch_and_the_totals_of_a_day(connection: Connection) -> None:
    reports = fill(connection)
    found = describe_ingestion(connection, now=NOW)
    assert (
        found.latest
        == reports.latest()
        == batch(
            10, NOW, rejected={"oversize": 2, "invalid_json": 4}, lag_seconds=7.5, seconds={"write": 1.0, "commit": 0.1}
        )
    )
    assert (found.totals.batches, found.totals.accepted, found.totals.payload_bytes) == (3, 25, 2_000)
    assert found.totals.rejected == {"oversize": 4, "invalid_json": 4}
    assert (found.totals.lag_seconds, found.totals.seconds) == (7.5, {"write": 1.5, "commit": 0.1})
    assert (found.millis_behind, found.shards) == (None, 0), "nothing was read yet"


def test_a_replay_does_not_replace_what_the_first_run_measured(connection: Connection) -> None:
    reports = fill(connection)
    manifest = Manifest(
        id=BatchId("g", "10"),
        attempt="a",
        files=(),
        rows=10,
        rejected={"oversize": 2, "invalid_json": 4},
        committed_at=NOW,
    )
    reports.publish(BatchReport.of(manifest))
    found = describe_ingestion(connection, now=NOW)
    assert found.totals.batches == 3
    assert found.latest is not None
    assert found.latest.lag_seconds == 7.5


def test_the_lag_is_that_of_the_shard_furthest_behind_in_the_newest_read(connection: Connection) -> None:
    put_journal(connection)
    found = describe_ingestion(connection, now=NOW)
    assert (found.latest, found.totals.batches, found.totals.lag_seconds) == (None, 0, None)
    assert (found.millis_behind, found.shards) == (4_200, 2)


def test_status_works_without_a_local_cloud(
    connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(connection)
    put_journal(connection)
    monkeypatch.setattr(status_commands, "connect", lambda _: connection)
    command = ["status", "--state", str(tmp_path)]
    found = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert [(run["run_id"], run["state"]) for run in found["runs"]] == [("jr_2", "RUNNING")]
    ingestion = found["ingestion"]
    assert (ingestion["latest"]["accepted"], ingestion["latest"]["rejected"]["invalid_json"]) == (10, 4)
    assert (ingestion["latest"]["committed_at"], ingestion["millis_behind"]) == (NOW.isoformat(), 4_200)
    shown = CliRunner().invoke(app, command).output
    assert f"on AWS: {connection.places.raw_bucket}" in shown
    for text in ("2024-06-26 12:00:00", "4 invalid_json", "write 1.0, commit 0.1", "7.5", "4.2 s behind the tip"):
        assert text in shown, shown


def test_status_of_nothing_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LISTENLAKE_RAW_BUCKET", raising=False)
    found = CliRunner().invoke(app, ["status", "--state", str(tmp_path), "--json"])
    assert (found.exit_code, json.loads(found.stdout)["ingestion"]) == (0, None)
    assert "not running" in CliRunner().invoke(app, ["status", "--state", str(tmp_path)]).output
