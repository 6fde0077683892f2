"""Runs of Glue jobs: starting one, reading its arguments and its error, finding whether one is alive.

The job's maximum of one concurrent run is the mutex; Glue's run queuing must be off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from botocore.exceptions import ClientError

from lambdas.start_jobs.decisions import WAKE_GENERATION, WAKE_REQUEST

if TYPE_CHECKING:
    from mypy_boto3_glue import GlueClient
    from mypy_boto3_glue.type_defs import JobRunTypeDef

    from lambdas.start_jobs.messages import Request

ALIVE: Final = frozenset({"STARTING", "RUNNING", "STOPPING", "WAITING"})
RECENT_RUNS: Final = 50
"""How many runs, newest first, are searched for one that is alive."""


class Latest(NamedTuple):
    """How the runs of a job stand, dry ones left out.

    Attributes:
        is_alive: Whether one is alive, dry or not.
        started: When the newest began, in seconds since the epoch; None without any.
        succeeded: Whether the newest has.
    """

    is_alive: bool
    started: float | None
    succeeded: bool


@dataclass(frozen=True)
class Runs:
    """Runs of the pipeline's Glue jobs."""

    client: GlueClient

    def start(self, request: Request, generation: int) -> str | None:
        """Start a run that serves `request` up to `generation`.

        Returns:
            The run's id, or None when the job is busy.
        """
        wake = {WAKE_REQUEST: str(request), WAKE_GENERATION: str(generation)}
        try:
            started = self.client.start_job_run(JobName=request.job, Arguments={**request.arguments, **wake})
        except ClientError as error:
            if error.response["Error"]["Code"] == "ConcurrentRunsExceededException":
                return None
            raise
        return started["JobRunId"]

    def read_run(self, job: str, run_id: str) -> tuple[float, dict[str, str], str]:
        """Return when a run began (epoch seconds), its arguments, and its error message (empty when it has none)."""
        run = self.client.get_job_run(JobName=job, RunId=run_id)["JobRun"]
        return run["StartedOn"].timestamp(), dict(run.get("Arguments", {})), run.get("ErrorMessage") or ""

    def latest(self, job: str) -> Latest:
        """Return how the runs of `job` stand; Glue lists the newest first."""
        runs = self._recent(job)
        is_alive = any(run["JobRunState"] in ALIVE for run in runs)
        wet = [run for run in runs if run.get("Arguments", {}).get("--dry_run") != "true"]
        if not wet:
            return Latest(is_alive, None, succeeded=False)
        return Latest(is_alive, wet[0]["StartedOn"].timestamp(), wet[0]["JobRunState"] == "SUCCEEDED")

    def is_alive(self, job: str, *, other_than: str) -> bool:
        """Tell whether a run of `job` other than `other_than` is alive, so that its end is still to come."""
        return any(run["JobRunState"] in ALIVE and run["Id"] != other_than for run in self._recent(job))

    def _recent(self, job: str) -> list[JobRunTypeDef]:
        return self.client.get_job_runs(JobName=job, MaxResults=RECENT_RUNS)["JobRuns"]
