"""A day of the trigger's world in simulated time: files come in bursts, events get lost or doubled, jobs take minutes.

What the trigger itself touches is real: its handler, its counters on DynamoDB and its look into S3.
"""

from __future__ import annotations

import heapq
import itertools
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import ClientError

from lakehouse import batches, layout
from lambdas.start_jobs.counters import Counters
from lambdas.start_jobs.handler import handle_records
from lambdas.start_jobs.runs import Runs
from lambdas.start_jobs.trigger import Trigger

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

RUN_SECONDS = {layout.TRANSFORM_JOB: 75.0, layout.KPI_JOB: 50.0}
LIST_SECONDS = 8.0
"""From the start of a run to the listing of its input."""
DELIVERY_SECONDS = 3.0
REDELIVERY_SECONDS = 20.0
LOST, DOUBLED = 0.1, 0.2


@dataclass
class Run:
    """A run of a job; `read` is what it has listed."""

    id: str
    job: str
    arguments: dict[str, str]
    started: float
    state: str = "RUNNING"
    read: frozenset[str] = frozenset()


@dataclass
class Day:
    """The world; `go_on` lets it live until nothing is left to happen.

    Attributes:
        pending: Files under `processed-streams/`, which S3 holds as well.
        curated: How often each file was merged.
        served: Files that a run of the KPIs has seen.
        refused: How often Glue refused a second run.
    """

    s3: S3Client
    dynamodb: DynamoDBClient
    bucket: str
    table: str
    chance: random.Random
    now: float = 0.0
    pending: set[str] = field(default_factory=set)
    curated: dict[str, int] = field(default_factory=dict)
    served: set[str] = field(default_factory=set)
    runs: list[Run] = field(default_factory=list)
    refused: int = 0
    lost: int = 0
    doubled: int = 0

    def __post_init__(self) -> None:
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._queue: list[str] = []
        self._trigger = Trigger(
            counters=Counters(self.dynamodb, self.table),
            runs=Runs(cast("Any", self)),
            has_pending=partial(batches.has_pending, self.s3, self.bucket),
            max_failures=3,
        )

    def at(self, seconds: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (seconds, next(self._order), what))

    def go_on(self) -> None:
        while self._agenda:
            self.now, _, what = heapq.heappop(self._agenda)
            what()

    # Files and messages

    def arrive(self, number: int) -> None:
        key = f"{layout.PROCESSED}generation=g/batch={number}/{layout.MANIFEST}"
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=b"{}")
        self.pending.add(key)
        self._emit({"source": "aws.s3", "detail-type": "Object Created", "detail": {"object": {"key": key}}})

    def sweep(self) -> None:
        self._deliver_later({"request": "sweep"})

    def _emit(self, event: dict[str, Any]) -> None:
        if self.chance.random() < LOST:
            self.lost += 1
            return
        self._deliver_later(event)
        if self.chance.random() < DOUBLED:
            self.doubled += 1
            self._deliver_later(event, after=self.chance.uniform(0, 200))

    def _deliver_later(self, event: dict[str, Any], *, after: float = 0.0) -> None:
        body = json.dumps(event)
        self.at(self.now + after + self.chance.uniform(0.1, DELIVERY_SECONDS), lambda: self._receive(body))

    def _receive(self, body: str) -> None:
        self._queue.append(body)
        if len(self._queue) == 1:  # what comes in the same half second goes in the same batches
            self.at(self.now + 0.5, self._invoke)

    def _invoke(self) -> None:
        waiting, self._queue = self._queue, []
        for bodies in _tens(waiting):
            records = [{"messageId": str(i), "body": body} for i, body in enumerate(bodies)]
            for failure in handle_records(self._trigger, {"Records": records})["batchItemFailures"]:
                body = bodies[int(str(failure["itemIdentifier"]))]
                self.at(self.now + REDELIVERY_SECONDS, partial(self._receive, body))

    # Glue, as `Runs` uses its client

    def start_job_run(self, *, JobName: str, Arguments: dict[str, str]) -> dict[str, str]:  # noqa: N803
        if any(run.job == JobName and run.state == "RUNNING" for run in self.runs):
            self.refused += 1
            raise ClientError({"Error": {"Code": "ConcurrentRunsExceededException", "Message": "one"}}, "StartJobRun")
        run = Run(f"jr_{len(self.runs)}", JobName, Arguments, self.now)
        self.runs.append(run)
        self.at(self.now + LIST_SECONDS, lambda: self._list_input(run))
        self.at(self.now + RUN_SECONDS[JobName], lambda: self._end(run))
        return {"JobRunId": run.id}

    def get_job_run(self, *, JobName: str, RunId: str) -> dict[str, Any]:  # noqa: N803
        (run,) = (run for run in self.runs if (run.id, run.job) == (RunId, JobName))
        return {"JobRun": {"Id": run.id, "Arguments": run.arguments, "StartedOn": _moment(run.started)}}

    def get_job_runs(self, *, JobName: str, MaxResults: int) -> dict[str, Any]:  # noqa: N803
        runs = [run for run in reversed(self.runs) if run.job == JobName]
        found = [{"Id": run.id, "JobRunState": run.state, "StartedOn": _moment(run.started)} for run in runs]
        return {"JobRuns": found[:MaxResults]}

    def _list_input(self, run: Run) -> None:
        run.read = frozenset(self.pending if run.job == layout.TRANSFORM_JOB else self.curated)

    def _end(self, run: Run) -> None:
        run.state = "SUCCEEDED"
        if run.job == layout.TRANSFORM_JOB:
            for key in run.read:
                self.s3.delete_object(Bucket=self.bucket, Key=key)
                self.curated[key] = self.curated.get(key, 0) + 1
            self.pending -= run.read
        else:
            self.served |= run.read
        detail = {"jobName": run.job, "jobRunId": run.id, "state": run.state}
        self._emit({"source": "aws.glue", "detail-type": "Glue Job State Change", "detail": detail})


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _tens(bodies: list[str]) -> list[list[str]]:
    return [bodies[start : start + 10] for start in range(0, len(bodies), 10)]


def fewest_runs(arrivals: list[float], job: str) -> int:
    """Return how many runs an all-knowing trigger needs that never lets input wait for a free job.

    It learns of a file at once, starts a run whenever a file waits and no run is alive, and loses nothing.
    """
    waiting, free, runs = sorted(arrivals), 0.0, 0
    while waiting:
        start = max(waiting[0], free)
        waiting = [arrival for arrival in waiting if arrival > start + LIST_SECONDS]
        free, runs = start + RUN_SECONDS[job], runs + 1
    return runs
