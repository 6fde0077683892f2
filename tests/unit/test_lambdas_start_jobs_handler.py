"""The Lambda's outside: messages it cannot read or handle, answers by hand, its metrics, log and environment."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import boto3
import pytest
from moto.moto_api import state_manager

from lakehouse import layout, settings
from lakehouse.errors import SettingsError
from lambdas.start_jobs import handler
from lambdas.start_jobs.messages import UnknownMessageError
from tests.unit.start_jobs_pipeline import CONTEXT, KPI_JOB, TRANSFORM_JOB, Pipeline, park

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client


def test_what_happens_is_counted(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    """In CloudWatch's embedded metric format, a line an invocation, under one dimension that alarms can name."""
    park(pipeline)
    pipeline.send(pipeline.put_batch(2), {"request": "sweep"}, "no JSON")
    *before, last = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"_aws"' in line]
    (directive,) = last["_aws"]["CloudWatchMetrics"]
    assert (directive["Namespace"], directive["Dimensions"], last["service"]) == (
        "Listenlake",
        [["service"]],
        "start_jobs",
    )
    counted = {metric["Name"]: last[metric["Name"]] for metric in directive["Metrics"]}
    assert counted == {"parked": [1.0], "messages": [3.0], "messages_failed": [1.0]}
    lines = [*before, last]
    totals = {
        name: sum(sum(line.get(name, [])) for line in lines) for name in ("runs_started", "runs_failed", "parked")
    }
    assert totals == {"runs_started": 3, "runs_failed": 3, "parked": 3}


def test_a_log_line_names_the_invocation_and_the_message(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr(handler.logger.logger_handler, "stream", written)
    pipeline.send(pipeline.put_batch())
    logged = [json.loads(line) for line in written.getvalue().splitlines()]
    (woken,) = (line for line in logged if line["message"] == "request woken")
    expected = {
        "level": "INFO",
        "service": "start_jobs",
        "function_request_id": "3f1c",
        "message_id": "0",
        "kind": "Ask",
        "request": "batch_transform",
        "generation": 1,
        "outcome": "started",
        "run_id": "jr_1",
    }
    assert expected.items() <= woken.items()


def test_a_message_that_cannot_be_read_fails_alone_and_is_not_logged(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    bad = ['{"listener": "Ada Lovelace"', '["Ada Lovelace"]', {"source": "aws.s3", "detail": {"name": "Ada Lovelace"}}]
    assert pipeline.send(*bad, pipeline.put_batch()) == ["0", "1", "2"]
    assert pipeline.started(TRANSFORM_JOB) == ["1"]
    assert len([record for record in caplog.records if record.getMessage() == "message not understood"]) == 3
    assert all("Lovelace" not in str(vars(record)) for record in caplog.records)


def test_a_message_whose_handling_fails_fails_alone(pipeline: Pipeline) -> None:
    pipeline.glue.throttled.add(TRANSFORM_JOB)
    hints = [pipeline.put_batch(1), pipeline.put_batch(2)]
    assert pipeline.send(hints[0], {"request": "kpi_recompute"}, hints[1]) == ["0", "2"]
    assert pipeline.started(KPI_JOB) == ["1"]
    pipeline.glue.throttled.clear()
    assert pipeline.send(*hints) == []
    assert pipeline.started(TRANSFORM_JOB) == ["2"]


def test_by_hand_the_answer_says_what_happened(pipeline: Pipeline) -> None:
    pipeline.put_batch()
    assert pipeline.ask("batch_transform") == {"batch_transform": {"outcome": "started", "run_id": "jr_1"}}
    assert pipeline.ask("batch_transform") == {"batch_transform": {"outcome": "busy"}}
    with pytest.raises(UnknownMessageError, match="sweep"):
        pipeline.ask("everything")


def test_by_hand_without_input_the_answer_is_idle(pipeline: Pipeline) -> None:
    assert pipeline.ask("batch_transform")["batch_transform"] == {"outcome": "idle"}
    assert pipeline.started(TRANSFORM_JOB) == []


@pytest.fixture
def without_cache() -> Iterator[None]:
    handler.build_trigger.cache_clear()
    yield
    handler.build_trigger.cache_clear()


@pytest.fixture
def moto_keeps_runs_alive() -> Iterator[None]:
    """By default moto's runs succeed at once, and no second run is ever refused."""
    state_manager.set_transition("glue::job_run", {"progression": "manual", "times": 100})
    yield
    state_manager.unset_transition("glue::job_run")


@pytest.mark.usefixtures("dynamodb", "without_cache", "moto_keeps_runs_alive")
def test_the_lambda_builds_itself_from_its_environment(
    s3: S3Client, raw_bucket: str, control_table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = settings.TriggerSettings(
        raw_bucket=raw_bucket, curated_bucket="c", presentation_bucket="p", control_table=control_table
    )
    for name, value in places.to_environment().items():
        monkeypatch.setenv(name, value)
    glue = boto3.client("glue")
    for job in (TRANSFORM_JOB, KPI_JOB):
        glue.create_job(Name=job, Role="r", Command={"Name": "glueetl"}, ExecutionProperty={"MaxConcurrentRuns": 1})
    s3.put_object(Bucket=raw_bucket, Key=f"{layout.PROCESSED}by-hand.parquet", Body=b"")
    first, second = (handler.lambda_handler({"request": "batch_transform"}, CONTEXT) for _ in range(2))
    run_id = first["batch_transform"]["run_id"]
    arguments = glue.get_job_run(JobName=TRANSFORM_JOB, RunId=run_id)["JobRun"]["Arguments"]
    assert arguments == {"--wake_request": "batch_transform", "--wake_generation": "1"}
    assert second == {"batch_transform": {"outcome": "busy"}}


def test_the_lambda_without_its_environment_says_what_is_missing(
    aws: None, without_cache: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LISTENLAKE_RAW_BUCKET", raising=False)
    with pytest.raises(SettingsError, match="LISTENLAKE_RAW_BUCKET"):
        handler.lambda_handler({"request": "sweep"}, CONTEXT)
