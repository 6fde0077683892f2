"""The Lambda on DynamoDB and S3 (moto) and a small Glue that refuses a second run."""

from __future__ import annotations

import io
import json
import logging
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import boto3
import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ClientError
from moto.moto_api import state_manager

from lakehouse import batches, layout, settings
from lakehouse.errors import SettingsError
from lambdas.start_jobs import handler
from lambdas.start_jobs.counters import Counters
from lambdas.start_jobs.decisions import Counts
from lambdas.start_jobs.messages import Ask, Request, UnknownMessageError
from lambdas.start_jobs.runs import Runs
from lambdas.start_jobs.trigger import Trigger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

BATCH, KPI, RECOMPUTE = Request.BATCH_TRANSFORM, Request.KPI_TRANSFORMATION, Request.KPI_RECOMPUTE
TRANSFORM_JOB, KPI_JOB = layout.TRANSFORM_JOB, layout.KPI_JOB


class Context(LambdaContext):
    """An invocation, as Lambda describes it."""

    _function_name = "start_jobs"
    _memory_limit_in_mb = 256
    _invoked_function_arn = "arn:aws:lambda:eu-west-1:000000000000:function:start_jobs"
    _aws_request_id = "3f1c"


CONTEXT = Context()


class FakeGlue:
    """Runs by id; one at a time per job. A job in `freeing` still counts its last run as active."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.freeing: set[str] = set()
        self.throttled: set[str] = set()

    def start_job_run(self, *, JobName: str, Arguments: dict[str, str]) -> dict[str, str]:  # noqa: N803
        if JobName in self.throttled:
            raise ClientError({"Error": {"Code": "ThrottlingException", "Message": "slow down"}}, "StartJobRun")
        if JobName in self.freeing or self.alive(JobName):
            raise ClientError({"Error": {"Code": "ConcurrentRunsExceededException", "Message": "one"}}, "StartJobRun")
        run_id = f"jr_{len(self.runs) + 1}"
        started = datetime.fromtimestamp(len(self.runs), UTC)
        run = {"Id": run_id, "JobName": JobName, "JobRunState": "RUNNING", "Arguments": Arguments, "StartedOn": started}
        self.runs[run_id] = run
        return {"JobRunId": run_id}

    def get_job_run(self, *, JobName: str, RunId: str) -> dict[str, Any]:  # noqa: N803
        run = self.runs[RunId]
        assert run["JobName"] == JobName
        return {"JobRun": run}

    def get_job_runs(self, *, JobName: str, MaxResults: int) -> dict[str, Any]:  # noqa: N803
        found = [run for run in reversed(self.runs.values()) if run["JobName"] == JobName]
        return {"JobRuns": found[:MaxResults]}

    def alive(self, job: str) -> list[str]:
        return [i for i, run in self.runs.items() if run["JobName"] == job and run["JobRunState"] == "RUNNING"]


@dataclass
class Pipeline:
    """The Lambda with its surroundings, and the verbs of the tests."""

    s3: S3Client
    dynamodb: DynamoDBClient
    bucket: str
    table: str
    glue: FakeGlue = field(default_factory=FakeGlue)

    def trigger(self) -> Trigger:
        return Trigger(
            counters=Counters(self.dynamodb, self.table),
            runs=Runs(cast("Any", self.glue)),
            has_pending=partial(batches.has_pending, self.s3, self.bucket),
            max_failures=3,
            count=handler.count,
        )

    def put_batch(self, number: int = 1) -> dict[str, Any]:
        """Put a batch and return its hint."""
        key = f"{layout.PROCESSED}generation=g/batch={number}/{layout.MANIFEST}"
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=b"{}")
        detail = {"bucket": {"name": self.bucket}, "object": {"key": key}}
        return {"source": "aws.s3", "detail-type": "Object Created", "detail": detail}

    def consume(self) -> None:
        for entry, _ in list(batches.list_files(self.s3, self.bucket, layout.PROCESSED)):
            self.s3.delete_object(Bucket=self.bucket, Key=entry.key)

    def send(self, *bodies: object) -> list[str]:
        """Send one SQS batch; return the positions of the messages that have to come again."""
        texts = [body if isinstance(body, str) else json.dumps(body) for body in bodies]
        event = {"Records": [{"messageId": str(i), "body": text} for i, text in enumerate(texts)]}
        return [entry["itemIdentifier"] for entry in handler.lambda_handler(event, CONTEXT)["batchItemFailures"]]

    def ask(self, request: str) -> dict[str, Any]:
        answer: dict[str, Any] = handler.lambda_handler({"request": request}, CONTEXT)
        return answer

    def end(self, run_id: str, state: str = "SUCCEEDED") -> dict[str, Any]:
        """End a run and return its event."""
        self.glue.runs[run_id]["JobRunState"] = state
        detail = {"jobName": self.glue.runs[run_id]["JobName"], "jobRunId": run_id, "state": state}
        return {"source": "aws.glue", "detail-type": "Glue Job State Change", "detail": detail}

    def counts(self, request: Request) -> Counts:
        return Counters(self.dynamodb, self.table).read(request)

    def started(self, job: str) -> list[str]:
        return [run["Arguments"]["--wake_generation"] for run in self.glue.runs.values() if run["JobName"] == job]


@pytest.fixture
def pipeline(
    s3: S3Client, dynamodb: DynamoDBClient, raw_bucket: str, control_table: str, monkeypatch: pytest.MonkeyPatch
) -> Pipeline:
    found = Pipeline(s3, dynamodb, raw_bucket, control_table)
    monkeypatch.setattr(handler, "build_trigger", found.trigger)
    return found


# Hints


def test_a_hint_starts_batch_transform_with_its_generation(pipeline: Pipeline) -> None:
    assert pipeline.send(pipeline.put_batch()) == []
    (run,) = pipeline.glue.runs.values()
    assert run["JobName"] == "batch_transform"
    assert run["Arguments"] == {"--wake_request": "batch_transform", "--wake_generation": "1"}
    assert pipeline.counts(BATCH) == Counts(requested=1, succeeded=0)


def test_many_hints_of_one_batch_of_messages_count_once(pipeline: Pipeline) -> None:
    assert pipeline.send(*(pipeline.put_batch(number) for number in range(10))) == []
    assert pipeline.counts(BATCH).requested == 1
    assert pipeline.started(TRANSFORM_JOB) == ["1"]


def test_a_hint_whose_file_is_gone_settles_and_lets_the_kpis_look(pipeline: Pipeline) -> None:
    hint = pipeline.put_batch()
    pipeline.consume()
    assert pipeline.send(hint) == []
    assert pipeline.counts(BATCH) == Counts(requested=1, succeeded=1)
    assert pipeline.started(TRANSFORM_JOB) == []
    assert pipeline.started(KPI_JOB) == ["1"]


def test_a_hint_during_a_run_is_remembered_until_the_run_ends(pipeline: Pipeline) -> None:
    pipeline.send(pipeline.put_batch(1))
    assert pipeline.send(pipeline.put_batch(2)) == []
    assert pipeline.started(TRANSFORM_JOB) == ["1"]
    assert pipeline.send(pipeline.end("jr_1")) == []
    assert pipeline.started(TRANSFORM_JOB) == ["1", "2"]
    assert pipeline.counts(BATCH) == Counts(requested=2, succeeded=1)


def test_more_than_a_page_of_files_of_attempts_hides_no_batch(pipeline: Pipeline) -> None:
    for number in range(1_005):
        key = f"{layout.PROCESSED}generation=a/batch=0/attempt=x/part-{number:05}.parquet"
        pipeline.s3.put_object(Bucket=pipeline.bucket, Key=key, Body=b"")
    pipeline.send({"request": "sweep"})
    assert pipeline.started(TRANSFORM_JOB) == []
    pipeline.put_batch()
    pipeline.send({"request": "sweep"})
    assert pipeline.started(TRANSFORM_JOB) == ["1"]


def test_events_that_ask_for_nothing_are_acknowledged(pipeline: Pipeline) -> None:
    hint = pipeline.put_batch()
    hint["detail"]["object"]["key"] = f"{layout.PROCESSED}generation=g/batch=1/attempt=a/part-0.parquet"
    detail = {"jobName": layout.INGEST_JOB, "jobRunId": "jr_9", "state": "FAILED"}
    assert pipeline.send(hint, {"source": "aws.glue", "detail-type": "Glue Job State Change", "detail": detail}) == []
    assert pipeline.counts(BATCH) == Counts()


# Ends of runs


def test_success_is_recorded_and_leads_to_the_kpis_once(pipeline: Pipeline) -> None:
    pipeline.send(pipeline.put_batch())
    pipeline.consume()
    event = pipeline.end("jr_1")
    assert pipeline.send(event) == []
    assert pipeline.send(event) == []
    assert pipeline.counts(BATCH) == Counts(requested=1, succeeded=1)
    assert pipeline.counts(KPI) == Counts(requested=1)
    (kpi_run,) = (run for run in pipeline.glue.runs.values() if run["JobName"] == KPI_JOB)
    assert kpi_run["Arguments"] == {
        "--mode": "incremental",
        "--wake_request": "kpi_transformation",
        "--wake_generation": "1",
    }
    assert pipeline.send(pipeline.end(kpi_run["Id"])) == []
    assert pipeline.counts(KPI) == Counts(requested=1, succeeded=1)
    assert len(pipeline.glue.runs) == 2


def test_an_older_success_that_comes_late_moves_nothing_back(pipeline: Pipeline) -> None:
    pipeline.send(pipeline.put_batch(1))
    late = pipeline.end("jr_1")
    pipeline.send(pipeline.put_batch(2))
    pipeline.consume()
    pipeline.send(pipeline.end("jr_2"))
    assert pipeline.counts(BATCH) == Counts(requested=2, succeeded=2)
    pipeline.send(late)
    assert pipeline.counts(BATCH) == Counts(requested=2, succeeded=2)


def test_a_generation_that_nobody_asked_for_is_not_recorded(pipeline: Pipeline) -> None:
    arguments = {"--wake_request": "batch_transform", "--wake_generation": "99"}
    run_id = pipeline.glue.start_job_run(JobName=TRANSFORM_JOB, Arguments=arguments)["JobRunId"]
    pipeline.send(pipeline.end(run_id))
    assert pipeline.counts(BATCH).succeeded == 0
    pipeline.send(pipeline.put_batch())
    assert pipeline.started(TRANSFORM_JOB) == ["99", "1"]


def test_a_run_by_hand_that_succeeds_leads_to_the_kpis_and_ends_the_failures(pipeline: Pipeline) -> None:
    park(pipeline)
    arguments = {"--step": "all"}
    run_id = pipeline.glue.start_job_run(JobName=TRANSFORM_JOB, Arguments=arguments)["JobRunId"]
    pipeline.consume()
    assert pipeline.send(pipeline.end(run_id)) == []
    assert pipeline.counts(BATCH).failures == 0
    assert pipeline.counts(BATCH).succeeded == pipeline.counts(BATCH).requested
    assert pipeline.started(KPI_JOB) == ["1"]


def test_a_run_by_hand_that_fails_counts_for_nobody(pipeline: Pipeline) -> None:
    run_id = pipeline.glue.start_job_run(JobName=KPI_JOB, Arguments={"--mode": "recompute"})["JobRunId"]
    pipeline.ask("kpi_transformation")
    assert pipeline.send(pipeline.end(run_id, "FAILED")) == []
    assert pipeline.counts(RECOMPUTE).failures == 0
    assert pipeline.glue.runs["jr_2"]["Arguments"]["--wake_request"] == "kpi_transformation"


def test_a_busy_request_does_not_starve_the_other_one_of_its_job(pipeline: Pipeline) -> None:
    pipeline.ask("kpi_transformation")
    assert pipeline.send({"request": "kpi_recompute"}, {"request": "kpi_transformation"}) == []
    assert len(pipeline.glue.runs) == 1
    assert pipeline.send(pipeline.end("jr_1")) == []
    recompute = pipeline.glue.runs["jr_2"]["Arguments"]
    assert recompute == {"--mode": "recompute", "--wake_request": "kpi_recompute", "--wake_generation": "1"}
    assert pipeline.send(pipeline.end("jr_2")) == []
    assert pipeline.counts(RECOMPUTE) == Counts(1, 1)
    assert pipeline.glue.runs["jr_3"]["Arguments"]["--wake_request"] == "kpi_transformation"


@pytest.mark.parametrize("message", ["end", "hint"])
def test_a_slot_that_is_not_free_yet_brings_the_message_back(pipeline: Pipeline, message: str) -> None:
    pipeline.send(pipeline.put_batch(1))
    pipeline.send(hint := pipeline.put_batch(2))
    pipeline.glue.freeing.add(TRANSFORM_JOB)
    event = pipeline.end("jr_1")
    assert pipeline.send(event) == ["0"]
    body = event if message == "end" else hint
    assert pipeline.send(body) == ["0"]
    pipeline.glue.freeing.clear()
    assert pipeline.send(body) == []
    assert len(pipeline.started(TRANSFORM_JOB)) == 2
    assert pipeline.counts(KPI).requested == 1


def test_a_run_that_is_still_listed_as_alive_after_its_end_is_no_reason_to_wait_for_it(pipeline: Pipeline) -> None:
    pipeline.send(pipeline.put_batch(1))
    pipeline.send(pipeline.put_batch(2))
    event = pipeline.end("jr_1")
    pipeline.glue.runs["jr_1"]["JobRunState"] = "RUNNING"
    assert pipeline.send(event) == ["0"]


def test_an_end_is_acknowledged_when_another_run_is_alive(pipeline: Pipeline) -> None:
    pipeline.send(pipeline.put_batch(1))
    event = pipeline.end("jr_1")
    pipeline.send(pipeline.put_batch(2))
    assert pipeline.glue.alive(TRANSFORM_JOB) == ["jr_2"]
    assert pipeline.send(event) == []


def test_a_file_that_arrives_during_the_look_stays_outstanding(pipeline: Pipeline) -> None:
    """An empty look settles what was asked for before it, not what was asked for meanwhile."""
    trigger = pipeline.trigger()

    def look_while_a_hint_comes() -> bool:
        trigger.counters.ask(BATCH)
        return False

    replace(trigger, has_pending=look_while_a_hint_comes).handle(Ask(BATCH))
    assert pipeline.counts(BATCH) == Counts(requested=2, succeeded=1)


@pytest.mark.parametrize("state", ["SUCCEEDED", "lost"])
def test_the_kpis_are_asked_for_before_a_success_is_recorded(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """So that a crash between the two leaves the success outstanding, and the sweep asks again."""
    pipeline.send(pipeline.put_batch())
    pipeline.consume()
    event = pipeline.end("jr_1")

    def crash(*_arguments: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(Counters, "succeed", crash)
    assert pipeline.send(event if state == "SUCCEEDED" else {"request": "sweep"}) == ["0"]
    assert pipeline.counts(BATCH) == Counts(requested=1, succeeded=0)
    assert pipeline.counts(KPI).requested == 1


# Failures


def park(pipeline: Pipeline) -> None:
    pipeline.send(pipeline.put_batch())
    for _ in range(3):
        (run_id,) = pipeline.glue.alive(TRANSFORM_JOB)
        pipeline.send(pipeline.end(run_id, "FAILED"))
        pipeline.send({"request": "sweep"})


@pytest.mark.parametrize("state", ["FAILED", "TIMEOUT", "ERROR"])
def test_a_failure_counts_once_and_waits_for_the_sweep(pipeline: Pipeline, state: str) -> None:
    pipeline.send(pipeline.put_batch())
    event = pipeline.end("jr_1", state)
    for _ in range(2):
        assert pipeline.send(event) == []
        assert pipeline.counts(BATCH) == Counts(requested=1, succeeded=0, failures=1)
    assert len(pipeline.glue.runs) == 1
    pipeline.send({"request": "sweep"})
    assert pipeline.started(TRANSFORM_JOB) == ["1", "1"]
    pipeline.consume()
    pipeline.send(pipeline.end("jr_2"))
    assert pipeline.counts(BATCH) == Counts(requested=1, succeeded=1, failures=0)
    pipeline.send(event)
    assert pipeline.counts(BATCH).failures == 0


def test_new_data_starts_a_request_that_has_failed_but_is_not_parked(pipeline: Pipeline) -> None:
    pipeline.send(pipeline.put_batch(1))
    pipeline.send(pipeline.end("jr_1", "FAILED"))
    pipeline.send(pipeline.put_batch(2))
    assert pipeline.started(TRANSFORM_JOB) == ["1", "2"]


def test_a_request_is_parked_after_three_failures_until_an_operator_asks(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    park(pipeline)
    parked = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(parked) == 2  # at the third failure, and in the sweep after it
    assert all("parked" in record.getMessage() for record in parked)
    assert pipeline.send(pipeline.put_batch(2)) == []
    assert len(pipeline.glue.runs) == 3
    assert pipeline.counts(BATCH) == Counts(requested=2, succeeded=0, failures=3)
    assert pipeline.ask("sweep")["batch_transform"] == {"outcome": "parked"}
    assert pipeline.ask("batch_transform") == {"batch_transform": {"outcome": "started", "run_id": "jr_4"}}
    assert pipeline.counts(BATCH) == Counts(requested=3, succeeded=0, failures=0)
    late_duplicate = pipeline.end("jr_3", "FAILED")
    pipeline.send(late_duplicate)
    assert pipeline.counts(BATCH).failures == 0


def test_a_run_that_its_breaker_has_stopped_is_parked_at_once_until_a_run_by_hand_succeeds(pipeline: Pipeline) -> None:
    pipeline.send(pipeline.put_batch(1))
    pipeline.glue.runs["jr_1"]["ErrorMessage"] = "BreakerError: expected at most 20.0% of the input rejected; found …"
    stopped = pipeline.end("jr_1", "FAILED")
    pipeline.send(stopped)
    pipeline.send(stopped, pipeline.put_batch(2))
    assert pipeline.ask("sweep")["batch_transform"] == {"outcome": "parked"}
    assert pipeline.counts(BATCH) == Counts(requested=2, succeeded=0, failures=3)
    assert pipeline.started(TRANSFORM_JOB) == ["1"]
    by_hand = pipeline.glue.start_job_run(JobName=TRANSFORM_JOB, Arguments={"--breaker_rate": "0.9"})["JobRunId"]
    pipeline.consume()
    pipeline.send(pipeline.end(by_hand))
    assert pipeline.counts(BATCH) == Counts(requested=2, succeeded=2, failures=0)
    assert pipeline.started(KPI_JOB)


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


def test_a_stopped_run_is_no_failure_and_waits_for_the_sweep(pipeline: Pipeline) -> None:
    pipeline.send(pipeline.put_batch())
    assert pipeline.send(pipeline.end("jr_1", "STOPPED")) == []
    assert pipeline.counts(BATCH) == Counts(requested=1, succeeded=0, failures=0)
    assert len(pipeline.glue.runs) == 1
    pipeline.send({"request": "sweep"})
    assert pipeline.started(TRANSFORM_JOB) == ["1", "1"]


def test_a_failure_lets_the_other_request_of_its_job_go_on(pipeline: Pipeline) -> None:
    pipeline.ask("kpi_transformation")
    pipeline.send({"request": "kpi_recompute"})
    pipeline.send(pipeline.end("jr_1", "FAILED"))
    assert pipeline.glue.runs["jr_2"]["Arguments"]["--wake_request"] == "kpi_recompute"
    pipeline.send(pipeline.end("jr_2", "FAILED"))
    assert len(pipeline.glue.runs) == 2  # both have failed: neither restarts the other


# Sweeps


def test_a_sweep_finds_a_batch_whose_hint_was_lost(pipeline: Pipeline) -> None:
    pipeline.put_batch()
    assert pipeline.send({"request": "sweep"}) == []
    assert pipeline.started(TRANSFORM_JOB) == ["1"]


def test_a_sweep_repairs_a_lost_end(pipeline: Pipeline) -> None:
    pipeline.send(pipeline.put_batch())
    pipeline.consume()
    pipeline.end("jr_1")
    pipeline.send({"request": "sweep"})
    assert pipeline.counts(BATCH) == Counts(requested=1, succeeded=1)
    assert pipeline.started(KPI_JOB) == ["1"]


def test_a_sweep_of_a_quiet_pipeline_starts_nothing(pipeline: Pipeline) -> None:
    idle = {"outcome": "idle"}
    assert pipeline.ask("sweep") == {"batch_transform": idle, "kpi_transformation": idle, "kpi_recompute": idle}
    assert pipeline.counts(BATCH) == Counts()


# Envelopes


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


# The real thing


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
