"""The Lambda on DynamoDB and S3 (moto) and a small Glue that refuses a second run."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ClientError

from lakehouse import batches, layout
from lambdas.start_jobs import handler
from lambdas.start_jobs.counters import Counters
from lambdas.start_jobs.decisions import Counts
from lambdas.start_jobs.messages import Request
from lambdas.start_jobs.runs import Runs
from lambdas.start_jobs.trigger import Trigger

if TYPE_CHECKING:
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


def park(pipeline: Pipeline) -> None:
    """Let batch_transform fail until nothing but an operator starts it."""
    pipeline.send(pipeline.put_batch())
    for _ in range(3):
        (run_id,) = pipeline.glue.alive(TRANSFORM_JOB)
        pipeline.send(pipeline.end(run_id, "FAILED"))
        pipeline.send({"request": "sweep"})
