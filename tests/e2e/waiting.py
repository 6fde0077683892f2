"""Wait for conditions, with deadlines."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from listenlake.pipeline import ACTIVE


def wait_until(condition: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Return when the condition holds; fail with `what` after the deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.2)


def wait_until_run_ends(glue: Any, job: str, run_id: str, *, seconds: float = 180) -> str:
    """Return the state in which a Glue run ended."""

    def state() -> str:
        return str(glue.get_job_run(JobName=job, RunId=run_id)["JobRun"]["JobRunState"])

    wait_until(lambda: state() not in ACTIVE, seconds=seconds, what=f"the end of {job} {run_id}")
    return state()


def start_when_free(glue: Any, job: str, arguments: dict[str, str], *, seconds: float = 120) -> str:
    """Start a job as soon as no other run of it lives, and return the run's id."""
    started: list[str] = []

    def start() -> bool:
        try:
            started.append(glue.start_job_run(JobName=job, Arguments=arguments)["JobRunId"])
        except glue.exceptions.ConcurrentRunsExceededException:
            return False
        return True

    wait_until(start, seconds=seconds, what=f"{job} to be free")
    return started[0]
