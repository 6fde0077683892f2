"""The account of events: it closes, follows a reject through its replays, and names what it lacks."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from lakehouse import layout
from lakehouse.batches import BatchId
from listenlake.audit import Account, AuditReport, audit
from listenlake.cli import app
from tests.integration.laboratory import Lab
from tests.integration.records import CLOCK, PROCESSED_SCHEMA, listen, to_parquet
from tests.unit.audited_pipeline import DAY, ENRICHMENT_REJECTS, SHARD, archive, build, make_pipeline, rejects_key

MALFORMED = "9"
"""Sequence number of the reject of ingestion that `build` leaves."""


@pytest.fixture
def lab(aws: None) -> Lab:
    """Seven deliveries in two batches, one of them a duplicate and one of an unknown user; one malformed event; one row
    by hand; one listen that waits."""
    lab = make_pipeline()
    build(lab)
    return lab


def report(lab: Lab, *, days_later: int = 0) -> AuditReport:
    return audit(lab.s3, lab.dynamodb, lab.places, now=CLOCK + timedelta(days=days_later))


def account(lab: Lab) -> Account:
    return report(lab).account


def ingest(
    lab: Lab,
    number: int,
    *,
    listens: list[dict[str, Any]],
    rejects: list[dict[str, Any]],
    generation: str = "0b6e",
) -> None:
    """One more batch, merged and archived."""
    body = to_parquet(pa.Table.from_pylist(listens, PROCESSED_SCHEMA))
    batch = BatchId(generation, str(number))
    archive(lab, batch, "attempt=a/part-0.parquet", body, len(listens), rejects=rejects)


def reject(sequence: str, reason: str) -> dict[str, Any]:
    return {"shard_id": SHARD, "sequence_number": sequence, "line": 1, "reason": reason}


def again(sequence: str) -> dict[str, Any]:
    """Another delivery of a listen that is curated."""
    return listen(1, "a", f"{DAY}T10:07:01", sequence=sequence)


def replay(lab: Lab, name: str, old: str, new: str | None) -> None:
    """What a replay of one event records."""
    entry = {"position": ["listens", SHARD, old, 1], "digest": "d", "attempt": 1}
    became = {"became": ["listens", SHARD, new, 1]} if new else {}
    lab.put(f"{layout.REPLAYS}{name}/000000.json", json.dumps({"records": [entry | became]}))


def test_every_event_has_one_outcome(lab: Lab) -> None:
    found = account(lab)
    assert found == Account(
        accepted=6,
        duplicate=1,
        rejected={"unknown_user": 1, "invalid_json": 1},
        recovered=0,
        in_flight=1,
        expired=0,
        unaccounted={},
    )
    assert (found.received, found.closes) == (10, True)


def test_a_replayed_reject_moves_when_it_is_ingested_and_what_was_received_stays(lab: Lab) -> None:
    replay(lab, "r1", MALFORMED, "20")
    assert account(lab).rejected == {"unknown_user": 1, "invalid_json": 1}, "it is still on the stream"
    ingest(lab, 3, listens=[], rejects=[reject("20", "wrong_type")])
    found = account(lab)
    assert (found.received, found.rejected, found.recovered) == (10, {"unknown_user": 1, "wrong_type": 1}, 0)
    replay(lab, "r2", "20", "21")
    replay(lab, "r3", "20", "22")
    ingest(lab, 4, listens=[again("21")], rejects=[reject("22", "wrong_type")])
    found = account(lab)
    assert (found.received, found.accepted, found.duplicate, found.recovered) == (10, 6, 2, 1), "two replays at once"
    assert (found.rejected, found.closes, report(lab).is_clean) == ({"unknown_user": 1}, True, True)


def test_a_replay_whose_new_place_is_unknown_is_an_event_of_its_own(lab: Lab) -> None:
    replay(lab, "r1", MALFORMED, None)
    ingest(lab, 3, listens=[again("20")], rejects=[])
    found = account(lab)
    assert (found.received, found.duplicate, found.rejected["invalid_json"], found.closes) == (11, 2, 1, True)


def test_a_second_checkpoint_that_reads_the_stream_again_receives_nothing_new(lab: Lab) -> None:
    body = to_parquet(
        pa.Table.from_pylist([again("1"), listen(9, "a", f"{DAY}T10:07:04", sequence=5)], PROCESSED_SCHEMA)
    )
    archive(lab, BatchId("ffff", "0"), "attempt=a/part-0.parquet", body, 2, rejects=[reject(MALFORMED, "invalid_json")])
    second = lab.read(ENRICHMENT_REJECTS)
    lab.put(ENRICHMENT_REJECTS.replace("0b6e", "ffff"), second)
    found = account(lab)
    assert (found.received, found.accepted, found.duplicate, found.closes) == (10, 6, 1, True)


def test_an_event_that_only_one_of_two_checkpoints_met_too_early_is_no_reject(lab: Lab) -> None:
    ingest(lab, 0, listens=[again("1")], rejects=[], generation="aaaa")
    early = {**reject("1", "unknown_track"), "payload": "{}"}
    lab.put(ENRICHMENT_REJECTS.replace("0b6e", "aaaa"), json.dumps(early))
    found = account(lab)
    assert (found.accepted, found.rejected, found.received) == (6, {"unknown_user": 1, "invalid_json": 1}, 10)


@pytest.mark.parametrize("shift", ["20", "200"], ids=["as many digits", "more digits"])
def test_a_replay_that_ingestion_passed_over_is_named(lab: Lab, shift: str) -> None:
    replay(lab, "r1", MALFORMED, "19")
    ingest(lab, 3, listens=[again(shift)], rejects=[])
    found = report(lab)
    assert (found.account.unaccounted, found.account.received, found.is_clean) == ({"replay_lost": 1}, 11, False)


def test_a_reject_that_is_gone_is_named_until_it_may_have_expired(lab: Lab) -> None:
    lab.put(rejects_key(BatchId("0b6e", "1")), b"")
    lab.s3.delete_object(Bucket=lab.places.raw_bucket, Key=ENRICHMENT_REJECTS)
    found = report(lab)
    assert found.account.unaccounted == {"no_outcome": 1, "not_found": 1}
    assert found.account.received == 10
    assert [(one.stage, one.what) for one in found.findings] == [("bad-records", "lost"), ("curated", "lost")]
    later = report(lab, days_later=layout.BAD_RECORDS_KEPT.days)
    assert (later.account.expired, later.account.closes, later.account.received) == (2, True, 10)
    assert later.findings == []


def test_a_listen_that_is_nowhere_leaves_all_its_deliveries_without_an_outcome(lab: Lab) -> None:
    keys = [key for key in lab.keys(layout.LATEST, bucket=lab.places.curated_bucket) if key.endswith(".json")]
    [log] = keys
    lines = lab.read(log, bucket=lab.places.curated_bucket).splitlines()
    lab.put(
        log,
        b"\n".join(line for line in lines if f"{DAY}/part-0" not in line.decode()),
        bucket=lab.places.curated_bucket,
    )
    # Three listens, one of them delivered twice.
    assert account(lab).unaccounted == {"no_outcome": 4}


def test_the_command_names_the_gap_and_fails(lab: Lab, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for name in ("raw_bucket", "curated_bucket", "presentation_bucket", "control_table", "daily_listens_table",
                 "top_genres_table"):  # fmt: skip
        monkeypatch.setenv(f"LISTENLAKE_{name.upper()}", getattr(lab.places, name))
    command = ["audit", "--state", str(tmp_path)]
    closed = CliRunner().invoke(app, command)
    assert (closed.exit_code, "the account closes" in closed.output) == (0, True), closed.output
    replay(lab, "r1", MALFORMED, "19")
    ingest(lab, 3, listens=[again("20")], rejects=[])
    broken = CliRunner().invoke(app, command)
    assert broken.exit_code == 1
    assert "does not close: 11 received, 10 accounted for: 1 replayed, passed over by ingestion" in broken.output
    told = CliRunner().invoke(app, [*command, "--json"])
    assert (told.exit_code, json.loads(told.stdout)["account"]["unaccounted"]) == (1, {"replay_lost": 1})
