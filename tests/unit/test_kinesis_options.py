"""Options of the source, those of Glue's own, and the journal's promise to write once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import boto3
import pytest
from moto import mock_aws

from lakehouse.errors import SettingsError
from lakehouse.settings import IngestSettings
from streaming_jobs.kinesis_source import journal
from streaming_jobs.kinesis_source.options import SourceOptions, to_text
from streaming_jobs.stream_sources import choose_source

REQUIRED: Final = {"streamname": "listens", "progresslocation": "s3://b/p"}


class AnyCase(dict[str, str]):
    """Spark's options."""

    def find(self, name: str) -> str | None:
        return self.get(name.lower())


def parsed(**given: str) -> SourceOptions:
    return SourceOptions.parse(AnyCase(REQUIRED | {name.lower(): value for name, value in given.items()}).find)


def test_options_have_defaults_and_any_case() -> None:
    assert parsed() == SourceOptions(stream_name="listens", progress_location="s3://b/p")
    found = parsed(startingPosition="at_timestamp", startingTimestamp="2024-06-25T18:00:00Z", failOnDataLoss="False")
    assert (found.starting_position, found.starting_timestamp) == ("AT_TIMESTAMP", 1_719_338_400.0)
    assert not found.fail_on_data_loss
    assert parsed(endingTimestamp="5.5").ending_timestamp == 5.5


def test_options_round_trip() -> None:
    options = parsed(maxBytesPerBatch="7", roleArn="arn", bytesPerSecond="0", failOnDataLoss="false")
    text = to_text({name: getattr(options, name) for name in options.__dataclass_fields__})
    assert SourceOptions.parse(text.get) == options


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"startingPosition": "SOMEWHERE"}, "TRIM_HORIZON or LATEST or AT_TIMESTAMP; found 'SOMEWHERE'"),
        ({"startingPosition": "AT_TIMESTAMP"}, "startingTimestamp with startingPosition AT_TIMESTAMP"),
        ({"startingTimestamp": "5"}, "startingTimestamp with startingPosition AT_TIMESTAMP"),
        ({"endingTimestamp": "soon"}, "endingTimestamp as a time as epoch seconds or ISO 8601; found 'soon'"),
        ({"maxRecordsPerShard": "many"}, "maxRecordsPerShard as int; found 'many'"),
        ({"maxTasks": "-1"}, "maxTasks as a number from 0 on"),
        ({"failOnDataLoss": "maybe"}, "failOnDataLoss as bool; found 'maybe'"),
        ({"streamName": ""}, "option streamName; found none"),
        ({"progressLocation": ""}, "option progressLocation; found none"),
    ],
)
def test_wrong_options_are_named(wrong: dict[str, str], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        parsed(**wrong)


def settings(**others: Any) -> IngestSettings:
    return IngestSettings.with_prefix("t", **others)


def test_one_setting_chooses_the_source() -> None:
    ours, glue = choose_source(settings(), tasks=4), choose_source(settings(stream_source="kinesis"), tasks=4)
    assert (ours.format, glue.format) == ("listenlake_kinesis", "kinesis")


def test_the_settings_reach_our_source() -> None:
    asked = settings(
        starting_position="AT_TIMESTAMP",
        starting_timestamp="2024-06-25T18:00:00Z",
        max_records_per_shard=7,
        max_bytes_per_shard=8,
        max_fetch_seconds=9.0,
        shard_reads_per_second=1.0,
        shard_bytes_per_second=2.0,
        fail_on_data_loss="false",
        kinesis_endpoint="http://127.0.0.1:1",
        kinesis_role="arn",
    )
    assert SourceOptions.parse(choose_source(asked, tasks=4).options.get) == SourceOptions(
        stream_name="listens",
        progress_location="s3://t-lab3-raw/checkpoints/ingest_listens/kinesis",
        endpoint_url="http://127.0.0.1:1",
        role_arn="arn",
        role_session_name="ingest_listens",
        starting_position="AT_TIMESTAMP",
        starting_timestamp=1_719_338_400.0,
        max_records_per_shard=7,
        max_bytes_per_shard=8,
        max_fetch_seconds=9.0,
        max_tasks=4,
        reads_per_second=1.0,
        bytes_per_second=2.0,
        fail_on_data_loss=False,
    )


def test_the_settings_reach_glues_own_source() -> None:
    """Names and spellings as in the Kinesis connection options of the AWS Glue guide."""
    plain = choose_source(settings(stream_source="kinesis"), tasks=4).options
    assert plain == {
        "streamName": "listens",
        "startingPosition": "trim_horizon",
        "maxFetchRecordsPerShard": "50000",
        "maxFetchTimeInMs": "10000",
        "addIdleTimeBetweenReads": "true",
        "idleTimeBetweenReadsInMs": "200",
        "avoidEmptyBatches": "true",
        "emitConsumerLagMetrics": "true",
    }
    asked = settings(
        stream_source="kinesis",
        starting_position="AT_TIMESTAMP",
        starting_timestamp="2024-06-25T18:00:00Z",
        kinesis_endpoint="https://kinesis.example",
        kinesis_role="arn",
    )
    assert choose_source(asked, tasks=4).options == plain | {
        "startingPosition": "2024-06-25T18:00:00Z",
        "endpointUrl": "https://kinesis.example",
        "awsSTSRoleARN": "arn",
        "awsSTSSessionName": "ingest_listens",
    }


def test_glues_own_source_can_not_drain() -> None:
    with pytest.raises(SettingsError, match="--drain false with AWS Glue's own source"):
        choose_source(settings(stream_source="kinesis", drain="true"), tasks=4)


def write_at_once(one: journal.Journal) -> None:
    with ThreadPoolExecutor(8) as pool:
        kept = list(pool.map(lambda number: one.put_once("e/1/ends.json", f"text {number}"), range(16)))
    assert len(set(kept)) == 1
    assert one.read("e/1/ends.json") == kept[0]
    assert one.read("e/1/other") is None
    assert journal.read_all(one, ["e/1/ends.json", "e/1/other"]) == [kept[0], None]
    assert one.names() == ["e/1/ends.json"]
    one.remove(["e/1/ends.json", "e/1/other"])
    assert one.names() == []
    one.remove([])


def test_a_folder_journal_writes_once(tmp_path: Path) -> None:
    write_at_once(journal.open_journal(f"file:{tmp_path}/journal"))
    assert list(tmp_path.rglob(".*")) == []


def test_an_s3_journal_writes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    journal._s3.cache_clear()
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="bucket")
        one = journal.open_journal("s3://bucket/p")
        # moto decides a race after the fact; one after the other is what it can be asked.
        assert [one.put_once("e/1/ends.json", text) for text in ("first", "second")] == ["first", "first"]
        assert journal.read_all(one, ["e/1/ends.json", "e/1/other"]) == ["first", None]
        assert one.names() == ["e/1/ends.json"]
        one.remove(["e/1/ends.json"])
        assert one.names() == []
    journal._s3.cache_clear()


def test_a_journal_is_on_s3_or_in_a_folder() -> None:
    with pytest.raises(SettingsError, match="progressLocation as s3://bucket/prefix"):
        journal.open_journal("hdfs://somewhere")
