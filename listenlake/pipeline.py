"""Look at a running pipeline from outside: batches, counters, job runs, bad records. Read-only but for `sweep`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from lakehouse import drops, layout
from lakehouse.batches import READ_THREADS, Manifest, has_pending, list_files, read_manifest
from lakehouse.control import RunReports
from lakehouse.errors import ListenlakeError
from listenlake.connection import Connection

ACTIVE: Final = frozenset({"STARTING", "RUNNING", "STOPPING", "WAITING"})
FAILED: Final = frozenset({"FAILED", "TIMEOUT", "ERROR"})
BATCH_JOBS: Final = (layout.TRANSFORM_JOB, layout.KPI_JOB)


class JobBusyError(ListenlakeError):
    """Another run of the job is alive."""


@dataclass(frozen=True)
class Outstanding:
    """What keeps a pipeline from being quiet; false when nothing does.

    Attributes:
        ingested: Records of the stream in committed batches, accepted and rejected.
        pending: Whether batches wait under `processed-streams/`.
        requests: Requests that no successful run has answered yet.
        running: Batch jobs that run.
        unserved: Whether listens are merged that no finished KPI run has served.
    """

    ingested: int
    pending: bool
    requests: tuple[str, ...]
    running: tuple[str, ...]
    unserved: bool

    def describe(self, *, expected: int) -> str:
        """Return one line for people."""
        waits = ", ".join(
            [*(f"{job} runs" for job in self.running), *(f"{name} is requested" for name in self.requests)]
        )
        return f"{self.ingested:,} of {expected:,} records ingested" + (f"; {waits}" if waits else "")

    def is_quiet(self, *, expected: int) -> bool:
        """Tell whether everything that was sent has gone all the way."""
        return self.ingested >= expected and not (self.pending or self.requests or self.running or self.unserved)


class Pipeline:
    """One deployed pipeline."""

    def __init__(self, connection: Connection) -> None:
        """Connect to it."""
        self.places = connection.places
        self._s3 = connection.client("s3")
        self._dynamodb = connection.client("dynamodb")
        self._glue = connection.client("glue")
        self._lambda = connection.client("lambda")
        self._manifests: dict[str, Manifest] = {}

    def outstanding(self) -> Outstanding:
        """Return what is still to be done."""
        # In the order of the flow: what moves on between the looks is seen further down, never missed.
        of_stream = [batch for batch in self.batches() if batch.id.generation != drops.GENERATION]
        ingested = sum((batch.rows or 0) + sum(batch.rejected.values()) for batch in of_stream)
        pending = has_pending(self._s3, self.places.raw_bucket)
        # A request is answered when its run has succeeded, so that it covers the run.
        requests = tuple(self._unanswered())
        running = tuple(job for job in BATCH_JOBS if any(run["JobRunState"] in ACTIVE for run in self.runs(job)))
        return Outstanding(ingested, pending, requests, running, self._is_unserved())

    def batches(self) -> list[Manifest]:
        """Return every committed micro-batch, waiting or archived, by time of commit."""
        bucket = self.places.raw_bucket
        for prefix in (layout.PROCESSED, layout.ARCHIVES):
            keys = [
                file.key
                for file, _ in list_files(self._s3, bucket, prefix)
                if file.key.endswith("/" + layout.MANIFEST) and file.key.removeprefix(prefix) not in self._manifests
            ]
            with ThreadPoolExecutor(READ_THREADS) as pool:
                for key, manifest in zip(
                    keys, pool.map(lambda k: read_manifest(self._s3, bucket, k), keys), strict=True
                ):
                    if manifest is not None:
                        self._manifests[key.removeprefix(prefix)] = manifest
        return sorted(self._manifests.values(), key=lambda batch: batch.committed_at)

    def runs(self, job: str) -> list[dict[str, Any]]:
        """Return the runs of a job as Glue keeps them."""
        pages = self._glue.get_paginator("get_job_runs").paginate(JobName=job)
        return [run for page in pages for run in page["JobRuns"]]

    def reports(self, job: str) -> list[dict[str, Any]]:
        """Return the reports of a job's finished runs, oldest first."""
        return RunReports(self._dynamodb, self.places.control_table).list(job)

    def start(self, job: str, arguments: dict[str, str] | None = None) -> str:
        """Start a job and return the run's id.

        Raises:
            JobBusyError: A run of it is alive.
        """
        try:
            return str(self._glue.start_job_run(JobName=job, Arguments=arguments or {})["JobRunId"])
        except self._glue.exceptions.ConcurrentRunsExceededException:
            raise JobBusyError(
                expected=f"no other run of {job}",
                found="one that is alive",
                do="Let it finish (`listenlake status` shows it) and start this one again; nothing was written.",
            ) from None

    def stop(self, job: str) -> None:
        """Ask every run of a job to finish."""
        alive = [run["Id"] for run in self.runs(job) if run["JobRunState"] in ACTIVE]
        if alive:
            self._glue.batch_stop_job_run(JobName=job, JobRunIds=alive)

    def sweep(self) -> dict[str, Any]:
        """Do what the schedule does every 15 minutes: retry what failed, find what nobody requested."""
        answer = self._lambda.invoke(FunctionName="start_jobs", Payload=json.dumps({"request": "sweep"}).encode())
        return dict(json.loads(answer["Payload"].read()))

    def rejects(self) -> Iterator[tuple[str, str, str, int]]:
        """Yield (reason, shard, sequence number, line) of every event from the stream in `bad-records/`."""
        bucket = self.places.raw_bucket
        for file, _ in list_files(self._s3, bucket, layout.BAD_RECORDS):
            if file.key.endswith(".json"):
                for line in self._s3.get_object(Bucket=bucket, Key=file.key)["Body"].iter_lines():
                    record = json.loads(line)
                    if record.get("stream") == self.places.stream:
                        place = record["shard_id"], record["sequence_number"], record.get("line", 1)
                        yield record["reason"], *place

    def upload(self, key: str, body: bytes) -> None:
        """Put an object into the raw bucket."""
        self._s3.put_object(Bucket=self.places.raw_bucket, Key=key, Body=body)

    def read(self, key: str) -> bytes:
        """Return an object of the raw bucket."""
        return bytes(self._s3.get_object(Bucket=self.places.raw_bucket, Key=key)["Body"].read())

    def read_metrics(self) -> str:
        """Return the text of validation_metrics.csv."""
        answer = self._s3.get_object(Bucket=self.places.presentation_bucket, Key=layout.VALIDATION_METRICS_KEY)
        return str(answer["Body"].read().decode())

    def _is_unserved(self) -> bool:
        merged = [report["table_version"] for report in self.reports(layout.TRANSFORM_JOB) if "table_version" in report]
        served = [report["table_version"] for report in self.reports(layout.KPI_JOB) if "table_version" in report]
        return max(merged, default=-1) > max(served, default=-1)

    def _unanswered(self) -> Iterator[str]:
        answer = self._dynamodb.query(
            TableName=self.places.control_table,
            KeyConditionExpression="pk = :p",
            ExpressionAttributeValues={":p": {"S": "counter"}},
            ConsistentRead=True,
        )
        for item in answer["Items"]:
            if int(item.get("requested", {"N": "0"})["N"]) > int(item.get("succeeded", {"N": "0"})["N"]):
                yield item["sk"]["S"]
