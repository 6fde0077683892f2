"""One run of a Glue job: its states, its record, and the history that GetJobRuns answers from."""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self


class RunState(StrEnum):
    """The states of Glue that a local run can have."""

    STARTING = "STARTING"
    RUNNING = "RUNNING"
    STOPPING = "STOPPING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    STOPPED = "STOPPED"
    TIMEOUT = "TIMEOUT"

    @property
    def is_terminal(self) -> bool:
        """Tell whether a run in this state is over."""
        return not NEXT[self]


NEXT: Final[dict[RunState, frozenset[RunState]]] = {
    RunState.STARTING: frozenset({RunState.RUNNING, RunState.STOPPING, RunState.FAILED}),
    RunState.RUNNING: frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.STOPPING, RunState.TIMEOUT}),
    RunState.STOPPING: frozenset({RunState.STOPPED}),
    RunState.SUCCEEDED: frozenset(),
    RunState.FAILED: frozenset(),
    RunState.STOPPED: frozenset(),
    RunState.TIMEOUT: frozenset(),
}


def outcome(exit_code: int, *, stopping: bool, timed_out: bool) -> RunState:
    """Return the state in which a run ends, from how its driver ended."""
    if stopping:
        return RunState.STOPPED
    if timed_out:
        return RunState.TIMEOUT
    return RunState.SUCCEEDED if exit_code == 0 else RunState.FAILED


@dataclass(kw_only=True)
class JobRun:
    """One attempt to run a job.

    Attributes:
        id: Glue's spelling: `jr_…`, and `…_attempt_N` for a retry.
        job_name: The job.
        arguments: What the caller gave, beside the job's own defaults.
        timeout: Minutes after which the run is ended.
        attempt: 0, or the number of the retry.
        previous_run_id: The run that this one retries.
        started_on: Seconds since the epoch, as all times here.
    """

    id: str
    job_name: str
    arguments: dict[str, str]
    timeout: int
    started_on: float
    last_modified_on: float
    attempt: int = 0
    previous_run_id: str | None = None
    state: RunState = RunState.STARTING
    completed_on: float | None = None
    error_message: str | None = None
    log: str = ""
    definition: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def new(
        cls, job_name: str, arguments: dict[str, str], *, timeout: int, now: float, definition: dict[str, Any]
    ) -> Self:
        """Return a run that is about to start."""
        return cls(
            id=f"jr_{uuid.uuid4().hex}",
            job_name=job_name,
            arguments=arguments,
            timeout=timeout,
            started_on=now,
            last_modified_on=now,
            definition=definition,
        )

    def retry(self, *, now: float) -> JobRun:
        """Return the next attempt: same arguments, a run of its own."""
        attempt = self.attempt + 1
        return JobRun(
            id=f"{self.id.partition('_attempt_')[0]}_attempt_{attempt}",
            job_name=self.job_name,
            arguments=self.arguments,
            timeout=self.timeout,
            started_on=now,
            last_modified_on=now,
            attempt=attempt,
            previous_run_id=self.id,
            definition=self.definition,
        )

    def advance(self, state: RunState, *, now: float, error_message: str | None = None) -> None:
        """Move to `state`.

        Raises:
            ValueError: Glue knows no such step.
        """
        if state not in NEXT[self.state]:
            raise ValueError(f"a run that is {self.state} can't become {state}")
        self.state = state
        self.last_modified_on = now
        if state.is_terminal:
            self.completed_on = now
            self.error_message = error_message

    def to_api(self) -> dict[str, Any]:
        """Return the run as GetJobRun shows it."""
        shown: dict[str, Any] = {
            "Id": self.id,
            "JobName": self.job_name,
            "Attempt": self.attempt,
            "PreviousRunId": self.previous_run_id,
            "JobRunState": str(self.state),
            "Arguments": self.arguments,
            "StartedOn": self.started_on,
            "LastModifiedOn": self.last_modified_on,
            "CompletedOn": self.completed_on,
            "ExecutionTime": round((self.completed_on or self.last_modified_on) - self.started_on),
            "ErrorMessage": self.error_message,
            "Timeout": self.timeout,
            "LogGroupName": self.log,
            **{name: self.definition.get(name) for name in ("GlueVersion", "WorkerType", "NumberOfWorkers")},
        }
        return {name: value for name, value in shown.items() if value is not None}

    def save(self, folder: Path) -> None:
        """Keep the record beside the run's files."""
        target = folder / self.id / "run.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        new = target.with_suffix(".new")
        new.write_text(json.dumps(asdict(self), indent=2))
        new.replace(target)


def load_runs(folder: Path) -> list[JobRun]:
    """Return every run kept under `folder`, oldest first."""
    values = [json.loads(path.read_text()) for path in folder.glob("*/run.json")]
    runs = [JobRun(**{**value, "state": RunState(value["state"])}) for value in values]
    return sorted(runs, key=lambda run: (run.started_on, run.attempt))
