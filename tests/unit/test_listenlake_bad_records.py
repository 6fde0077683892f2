"""Bad records: causes, fixes and replays (S3 and Kinesis by moto), against hand-written records."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from typer.testing import CliRunner

from lakehouse.bad_records import BadRecord, Selection, fingerprint_of, group_records
from lakehouse.errors import SettingsError
from listenlake.bad_fix import Fix, UnfixableError
from listenlake.bad_replay import MAX_ATTEMPTS, PUT_TRIES, BadRecordStore, ReplayError
from listenlake.cli import app

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

STREAM = "listens"
NOW = datetime(2024, 6, 26, tzinfo=UTC)
MISSING = "a required field is absent or null: user_id"
RENAMED = Fix(renames=(("userId", "user_id"),), casts=(("user_id", "integer"),))


def line(
    number: int, payload: str | None, *, reason: str = "missing_field", message: str = MISSING, **others: Any
) -> str:
    record = {
        "reason": reason,
        "message": message,
        "payload": payload,
        "stream": STREAM,
        "shard_id": "shardId-0",
        "sequence_number": str(number),
        "line": 1,
        "arrived_at": f"2024-06-25T12:00:{number:02d}.000Z",
        "source_batch": "generation=g/batch=0/",
    }
    return json.dumps(record | others)


def event(number: int) -> str:
    return json.dumps({"userId": str(number), "track_id": "ü", "listen_time": "2024-06-25T17:43:13Z"})


class Lake:
    """A raw bucket and a stream."""

    def __init__(self, s3: S3Client, bucket: str) -> None:
        self.s3, self.bucket = s3, bucket
        self.kinesis = boto3.client("kinesis")
        self.kinesis.create_stream(StreamName=STREAM, ShardCount=1)
        self.replays = 0

    def put(self, *lines: str, folder: str = "ingest_listens/generation=g/batch=0/attempt=a") -> None:
        key = f"bad-records/{folder}/part-0.json"
        self.s3.put_object(Bucket=self.bucket, Key=key, Body="\n".join(lines).encode())

    def store(self, kinesis: Any = None) -> BadRecordStore:
        return BadRecordStore(
            s3=self.s3,
            kinesis=kinesis or self.kinesis,
            bucket=self.bucket,
            stream=STREAM,
            now=lambda: NOW,
            sleep=lambda _: None,
        )

    def replay(self, selection: Selection, fix: Fix = Fix(), *, kinesis: Any = None, force: bool = False) -> Any:  # noqa: B008
        self.replays += 1
        return self.store(kinesis).replay(selection, fix, replay_id=f"r{self.replays}", force=force)

    def sent(self) -> list[bytes]:
        return [record["Data"] for record in self.records()[1]]

    def places(self) -> list[tuple[str, str]]:
        shard, records = self.records()
        return [(shard, record["SequenceNumber"]) for record in records]

    def records(self) -> tuple[str, list[Any]]:
        [shard] = self.kinesis.list_shards(StreamName=STREAM)["Shards"]
        iterator = self.kinesis.get_shard_iterator(
            StreamName=STREAM, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        return shard["ShardId"], self.kinesis.get_records(ShardIterator=iterator)["Records"]


@pytest.fixture
def lake(s3: S3Client, raw_bucket: str) -> Lake:
    return Lake(s3, raw_bucket)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("user_id as STRING for BIGINT", "user_id as STRING for BIGINT", True),
        ("user_id as OBJECT<a: BIGINT> for BIGINT", "user_id as OBJECT<b: ARRAY<STRING>> for BIGINT", True),
        ("user_id as DECIMAL(3,1) for BIGINT", "user_id as DECIMAL(4,2) for BIGINT", True),
        ("user_id as STRING for BIGINT", "user_id as BOOLEAN for BIGINT", False),
        ("user_id as STRING for BIGINT", "track_id as BIGINT for STRING", False),
        ("track_id as OBJECT<a: BIGINT> for STRING", "track_id as OBJECT<a: BIGINT> for STRING, x as B for C", False),
        ("user_id as OBJECT<a\n: B> for BIGINT", "user_id as OBJECT<c\u2028: D> for BIGINT", True),
    ],
)
def test_a_fingerprint_names_the_cause_and_no_value(one: str, other: str, is_same: bool) -> None:
    records = [
        BadRecord.from_json(line(place, "{}", reason="wrong_type", message=f"wrong: {text}"))
        for place, text in enumerate((one, other))
    ]
    assert (records[0].fingerprint == records[1].fingerprint) is is_same


def test_a_fingerprint_that_is_stored_outlives_a_change_of_words() -> None:
    assert BadRecord.from_json(line(1, "{}", fingerprint="3f2a91")).fingerprint == "3f2a91"
    assert BadRecord.from_json(line(1, "{}")).fingerprint == fingerprint_of("missing_field", MISSING)


def test_groups_count_and_know_when_they_were_seen() -> None:
    bad = [BadRecord.from_json(line(n, event(n))) for n in (30, 10, 20)]
    row = BadRecord.from_json(
        json.dumps({"reason": "malformed_row", "message": "m", "payload": "x", "stream": "u.csv"})
    )
    [first, second] = group_records([*bad, row], replayed=[bad[1].position])
    assert (first.records, first.replayed, first.reason) == (3, 1, "missing_field")
    assert (first.first_seen, first.last_seen) == (
        datetime(2024, 6, 25, 12, 0, 10, tzinfo=UTC),
        datetime(2024, 6, 25, 12, 0, 30, tzinfo=UTC),
    )
    assert (second.records, second.replayed, second.first_seen) == (1, 0, None)


def test_a_selection_takes_the_first_moment_and_leaves_the_last() -> None:
    records = [BadRecord.from_json(line(n, event(n))) for n in (10, 20, 30)]
    selection = Selection(since=records[0].arrived_at, until=records[2].arrived_at)
    assert [selection.holds(record) for record in records] == [True, True, False]
    assert Selection(fingerprint=records[0].fingerprint[:4], reason="missing_field").holds(records[0])
    assert not Selection(reason="invalid_json").holds(records[0])


@pytest.mark.parametrize(
    ("options", "before", "after"),
    [
        ({"rename": ["userId=user_id"], "cast": ["user_id=integer"]}, {"userId": "7"}, {"user_id": 7}),
        ({"cast": ["track_id=string"]}, {"track_id": 12}, {"track_id": "12"}),
        ({"cast": ["user_id=integer"]}, {"user_id": 7.0}, {"user_id": 7}),
        ({"default": ["platform=web"]}, {"platform": None}, {"platform": "web"}),
        ({"default": ["platform=web"]}, {"platform": "ios"}, {"platform": "ios"}),
        ({"constant": ["schema_version=2"]}, {"schema_version": 1}, {"schema_version": 2}),
        ({"rename": ["a=b"]}, {"c": 12345678901234567890}, {"c": 12345678901234567890}),
    ],
)
def test_a_fix_changes_what_it_says(options: dict[str, list[str]], before: Any, after: Any) -> None:
    none: dict[str, list[str]] = {"rename": [], "cast": [], "default": [], "constant": []}
    assert json.loads(Fix.parse(**(none | options)).apply(json.dumps(before).encode())) == after


@pytest.mark.parametrize(
    "data",
    [b"\xff", b"", b"[1]", b'{"user_id":1,"user_id":2}', b'{"user_id":NaN}', b'{"user_id":"x"}', b'{"user_id":1.5}',
     b'{"user_id":true}', b'{"user_id":[1]}', b'{"userId":1,"user_id":2}', b"[" * 100_000],
)  # fmt: skip
def test_what_a_fix_does_not_fit_is_refused_without_a_word_of_the_payload(data: bytes) -> None:
    with pytest.raises(UnfixableError) as refused:
        RENAMED.apply(data)
    assert refused.value.__cause__ is None
    assert Fix().apply(data) == data


@pytest.mark.parametrize("cast", ["user_id", "user_id=", "=integer", "user_id=date"])
def test_a_malformed_fix_is_a_wrong_use(cast: str) -> None:
    with pytest.raises(SettingsError):
        Fix.parse(rename=[], cast=[cast], default=[], constant=[])


def test_a_group_replayed_twice_is_sent_once_fixed_and_recorded(lake: Lake) -> None:
    lake.put(*[line(n, event(n)) for n in range(3)], line(3, "{", reason="invalid_json", message="m"))
    lake.put(line(0, event(0)), folder="ingest_listens/generation=g/batch=0/attempt=lost")
    first = lake.replay(Selection(reason="missing_field"), RENAMED)
    second = lake.replay(Selection(reason="missing_field"), RENAMED)
    assert (first.selected, first.sent, first.already_replayed) == (3, 3, 0)
    assert (second.selected, second.sent, second.already_replayed, second.replay_id) == (3, 0, 3, "")
    assert [json.loads(data)["user_id"] for data in lake.sent()] == [0, 1, 2]
    body = json.loads(lake.s3.get_object(Bucket=lake.bucket, Key="replays/r1/000000.json")["Body"].read())
    assert (body["replayed_at"], body["fix"]["renames"]) == (NOW.isoformat(), [["userId", "user_id"]])
    assert [entry["position"][2] for entry in body["records"]] == ["0", "1", "2"]
    assert [entry["became"] for entry in body["records"]] == [[STREAM, *place, 1] for place in lake.places()]


def test_bytes_that_are_no_utf8_are_sent_as_they_came(lake: Lake) -> None:
    lake.put(line(1, None, reason="invalid_utf8", message="m", payload_base64="/wA="))
    assert lake.replay(Selection(reason="invalid_utf8")).sent == 1
    assert lake.sent() == [b"\xff\x00"]


def test_the_loop_guard_stops_an_event_that_is_rejected_again_and_again(lake: Lake) -> None:
    for number in range(MAX_ATTEMPTS + 1):
        lake.put(line(number, event(1)), folder=f"ingest_listens/generation=g/batch={number}/attempt=a")
        outcome = lake.replay(Selection(reason="missing_field"))
        assert (outcome.sent, outcome.over_limit) == ((1, 0) if number < MAX_ATTEMPTS else (0, 1))
    assert lake.replay(Selection(reason="missing_field"), force=True).sent == 1


def test_rows_of_files_and_events_that_the_fix_does_not_fit_stay_rejected(lake: Lake) -> None:
    lake.put(line(1, "{"), line(2, event(2)))
    row = {"reason": "malformed_row", "message": "m", "payload": "a,b", "stream": "users/users.csv"}
    lake.put(json.dumps(row), json.dumps(row | {"payload": "c,d"}), folder="dimensions/users/etag=e")
    outcome = lake.replay(Selection(), RENAMED)
    assert (outcome.selected, outcome.sent, outcome.unfixable, outcome.not_events) == (4, 1, 1, 2)


def test_a_row_that_batch_transform_rejected_is_the_event_again(lake: Lake) -> None:
    payload = '{"user_id":9,"track_id":"a","extra":{"rating":"4","user_id":"8","tags":"[1]","stream":"\\"s\\""}}'
    lake.put(line(1, payload, reason="unknown_user", message="m"), folder="batch_transform/generation=g/batch=0")
    lake.replay(Selection(reason="unknown_user"))
    [sent] = lake.sent()
    assert json.loads(sent) == {"user_id": 9, "track_id": "a", "rating": 4, "tags": [1], "stream": "s"}


class RefusingKinesis:
    """Kinesis that refuses the last record of its first calls."""

    def __init__(self, client: Any, refusals: int) -> None:
        self.client, self.refusals = client, refusals

    def put_records(self, *, StreamName: str, Records: list[Any]) -> Any:  # noqa: N803
        if not self.refusals:
            return self.client.put_records(StreamName=StreamName, Records=Records)
        self.refusals -= 1
        taken = self.client.put_records(StreamName=StreamName, Records=Records[:-1])["Records"] if Records[1:] else []
        return {"Records": [*taken, {"ErrorCode": "ProvisionedThroughputExceededException"}]}


def test_only_refused_records_are_sent_again(lake: Lake) -> None:
    lake.put(*[line(n, event(n)) for n in range(3)])
    assert lake.replay(Selection(reason="missing_field"), kinesis=RefusingKinesis(lake.kinesis, 2)).sent == 3
    assert sorted(json.loads(data)["userId"] for data in lake.sent()) == ["0", "1", "2"]


def test_what_was_not_taken_is_not_recorded_as_sent(lake: Lake) -> None:
    lake.put(*[line(n % 60, f"x{n}", sequence_number=str(n)) for n in range(501)])
    with pytest.raises(ReplayError):
        lake.replay(Selection(reason="missing_field"), kinesis=RefusingKinesis(lake.kinesis, PUT_TRIES))
    assert len(lake.sent()) == 499, "one of the first call was refused, the second was not tried"
    assert lake.replay(Selection(reason="missing_field")).sent == 2
    assert sorted(lake.sent()) == sorted(f"x{n}".encode() for n in range(501))


def test_a_dry_run_says_what_a_replay_then_does_and_does_nothing(lake: Lake) -> None:
    lake.put(*[line(n, event(n)) for n in range(3)], line(3, "{"), line(4, "{", reason="invalid_json", message="m"))
    lake.replay(Selection(until=BadRecord.from_json(line(1, "")).arrived_at), RENAMED)
    before = lake.s3.list_objects_v2(Bucket=lake.bucket)["KeyCount"], lake.sent()
    told, groups = lake.store().preview(Selection(reason="missing_field"), RENAMED)
    assert (lake.s3.list_objects_v2(Bucket=lake.bucket)["KeyCount"], lake.sent()) == before
    assert (told.selected, told.sent, told.already_replayed, told.unfixable, told.dry_run) == (4, 2, 1, 1, True)
    assert [(group.reason, group.records) for group in groups] == [("missing_field", 2)]
    done = lake.replay(Selection(reason="missing_field"), RENAMED)
    assert (done.selected, done.sent, done.already_replayed, done.unfixable) == (4, 2, 1, 1)


def test_the_commands_show_a_payload_only_when_asked(
    lake: Lake, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.put(line(1, event(1)))
    for name, value in {"RAW": lake.bucket, "CURATED": "c", "PRESENTATION": "p"}.items():
        monkeypatch.setenv(f"LISTENLAKE_{name}_BUCKET", value)

    def call(*arguments: str) -> Any:
        result = CliRunner().invoke(app, ["bad", *arguments, "--state", str(tmp_path), "--json"])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    [group] = call("list")["groups"]
    assert (group["records"], group["replayed"], group["message"]) == (1, 0, MISSING)
    name = group["fingerprint"]
    assert "payload" not in call("show", name)["records"][0]
    assert call("show", name, "--payload")["records"][0]["payload"] == event(1)
    fix = ("--rename", "userId=user_id", "--cast", "user_id=integer")
    [preview] = call("replay", "--fingerprint", name, *fix, "--dry-run")["groups"]
    assert (preview["fingerprint"], preview["records"], lake.sent()) == (name, 1, [])
    asked = ["bad", "replay", "--fingerprint", name, *fix, "--dry-run", "--state", str(tmp_path)]
    assert name in CliRunner().invoke(app, asked).output, "people are shown the causes too"
    assert [call("replay", "--fingerprint", name, *fix)["sent"] for _ in range(2)] == [1, 0]
    assert call("list")["groups"][0]["replayed"] == 1
    assert CliRunner().invoke(app, ["bad", "replay", "--state", str(tmp_path)]).exit_code == 2
