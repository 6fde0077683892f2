"""Glue jobs on the local cloud, seen through boto3: toy scripts without Spark, real processes."""

import json
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local_cloud.cloud import Cloud

PRINT_ARGUMENTS = """
import json, os, sys
print(json.dumps({"argv": sys.argv[1:], "environment": dict(os.environ)}))
"""
WAIT = """
import pathlib, signal, sys, time
def leave(*_):
    print("asked to stop")
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
print("ready", flush=True)
time.sleep(300)
"""
FAIL = """
import sys
print("about to fail")
raise ValueError("expected a song; found a dance")
"""
DEADLINE_SECONDS = 30

RunJob = Callable[..., str]
MakeJob = Callable[..., str]


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError(f"{what} did not come true within {DEADLINE_SECONDS} s")


@pytest.fixture
def glue(cloud: Cloud) -> Any:
    return cloud.client("glue")


@pytest.fixture
def make_job(cloud: Cloud, glue: Any) -> Iterator[MakeJob]:
    made: list[str] = []
    s3 = cloud.client("s3")

    def make(script: str, **definition: Any) -> str:
        name = f"toy-{uuid.uuid4().hex[:8]}"
        s3.put_object(Bucket=cloud.places.raw_bucket, Key=f"toys/{name}.py", Body=script.encode())
        location = f"s3://{cloud.places.raw_bucket}/toys/{name}.py"
        command = {"Name": "glueetl", "ScriptLocation": location, "PythonVersion": "3"}
        glue.create_job(Name=name, Role="toy", Command=command, **definition)
        made.append(name)
        return name

    yield make
    for name in made:
        glue.delete_job(JobName=name)


def ended(glue: Any, job: str, run_id: str) -> dict[str, Any]:
    def over() -> dict[str, Any] | None:
        run: dict[str, Any] = glue.get_job_run(JobName=job, RunId=run_id)["JobRun"]
        return run if run["JobRunState"] in {"SUCCEEDED", "FAILED", "STOPPED", "TIMEOUT"} else None

    found: dict[str, Any] = wait_for(over, f"the end of {run_id}")
    return found


def log_of(run: dict[str, Any]) -> str:
    return Path(run["LogGroupName"]).read_text()


def test_a_run_gets_declared_arguments_with_its_own_on_top(glue: Any, make_job: MakeJob) -> None:
    job = make_job(PRINT_ARGUMENTS, DefaultArguments={"--step": "all", "--raw_bucket": "declared"})
    run_id = glue.start_job_run(JobName=job, Arguments={"--step": "archive"})["JobRunId"]
    run = ended(glue, job, run_id)
    assert run["JobRunState"] == "SUCCEEDED"
    assert run["Arguments"] == {"--step": "archive"}
    assert run["CompletedOn"] >= run["StartedOn"]
    seen = json.loads(log_of(run).splitlines()[-1])["argv"]
    assert dict(zip(seen[::2], seen[1::2], strict=True)) == {
        "--step": "archive",
        "--raw_bucket": "declared",
        "--JOB_NAME": job,
        "--JOB_RUN_ID": run_id,
    }


def test_a_run_knows_the_local_cloud_and_nothing_of_the_user(glue: Any, make_job: MakeJob, cloud: Cloud) -> None:
    job = make_job(PRINT_ARGUMENTS)
    run = ended(glue, job, glue.start_job_run(JobName=job)["JobRunId"])
    seen = json.loads(log_of(run).splitlines()[-1])["environment"]
    assert seen["AWS_ENDPOINT_URL"] == cloud.record.endpoint
    assert seen["AWS_ENDPOINT_URL_GLUE"] == cloud.record.glue_endpoint
    assert Path(seen["AWS_CONFIG_FILE"]).read_text() == ""
    assert "AWS_PROFILE" not in seen
    assert Path(seen["SPARK_CONF_DIR"], "spark-defaults.conf").exists()


def test_a_second_run_is_refused_as_glue_refuses_it(glue: Any, make_job: MakeJob) -> None:
    job = make_job(WAIT)
    run_id = glue.start_job_run(JobName=job)["JobRunId"]
    with pytest.raises(glue.exceptions.ConcurrentRunsExceededException):
        glue.start_job_run(JobName=job)
    glue.batch_stop_job_run(JobName=job, JobRunIds=[run_id])
    ended(glue, job, run_id)
    again = glue.start_job_run(JobName=job)["JobRunId"]
    glue.batch_stop_job_run(JobName=job, JobRunIds=[again])
    ended(glue, job, again)
    assert [run["Id"] for run in glue.get_job_runs(JobName=job)["JobRuns"]] == [again, run_id]


def test_a_stopped_run_may_finish_its_work(glue: Any, make_job: MakeJob) -> None:
    job = make_job(WAIT)
    run_id = glue.start_job_run(JobName=job)["JobRunId"]
    log = Path(wait_for(lambda: glue.get_job_run(JobName=job, RunId=run_id)["JobRun"].get("LogGroupName"), "a log"))
    wait_for(lambda: log.exists() and "ready" in log.read_text(), "the driver's readiness")
    answer = glue.batch_stop_job_run(JobName=job, JobRunIds=[run_id, "jr_unknown"])
    assert [entry["JobRunId"] for entry in answer["SuccessfulSubmissions"]] == [run_id]
    assert [entry["ErrorDetail"]["ErrorCode"] for entry in answer["Errors"]] == ["EntityNotFoundException"]
    run = ended(glue, job, run_id)
    assert run["JobRunState"] == "STOPPED"
    assert "asked to stop" in log_of(run)


def test_a_failed_run_says_why_and_is_retried_as_declared(glue: Any, make_job: MakeJob) -> None:
    job = make_job(FAIL, MaxRetries=1, DefaultArguments={"--a": "b"})
    first = glue.start_job_run(JobName=job, Arguments={"--mode": "recompute"})["JobRunId"]
    assert ended(glue, job, first)["ErrorMessage"] == "ValueError: expected a song; found a dance"
    wait_for(lambda: len(glue.get_job_runs(JobName=job)["JobRuns"]) == 2, "a retry")
    retry = ended(glue, job, glue.get_job_runs(JobName=job)["JobRuns"][0]["Id"])
    assert (retry["Attempt"], retry["PreviousRunId"]) == (1, first)
    assert retry["Arguments"] == {"--mode": "recompute"}
    assert retry["JobRunState"] == "FAILED"


def test_the_end_of_a_run_reaches_a_queue_through_a_rule(glue: Any, make_job: MakeJob, cloud: Cloud) -> None:
    sqs, events = cloud.client("sqs"), cloud.client("events")
    job = make_job(FAIL)
    queue = sqs.create_queue(QueueName=job)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    pattern = {"source": ["aws.glue"], "detail-type": ["Glue Job State Change"], "detail": {"jobName": [job]}}
    events.put_rule(Name=job, EventPattern=json.dumps(pattern))
    events.put_targets(Rule=job, Targets=[{"Id": "queue", "Arn": arn}])
    run_id = glue.start_job_run(JobName=job)["JobRunId"]
    message = wait_for(
        lambda: sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=1).get("Messages"), "the event in the queue"
    )
    assert json.loads(message[0]["Body"])["detail"] == {
        "jobName": job,
        "jobRunId": run_id,
        "message": "ValueError: expected a song; found a dance",
        "severity": "ERROR",
        "state": "FAILED",
    }


def test_unknown_jobs_and_runs_are_named(glue: Any, make_job: MakeJob) -> None:
    with pytest.raises(glue.exceptions.EntityNotFoundException, match="no-such-job"):
        glue.start_job_run(JobName="no-such-job")
    job = make_job(PRINT_ARGUMENTS)
    with pytest.raises(glue.exceptions.EntityNotFoundException, match="jr_none"):
        glue.get_job_run(JobName=job, RunId="jr_none")
    with pytest.raises(glue.exceptions.InvalidInputException):
        glue.start_job_run(JobName=job, Arguments={"--step": ""})
