"""Run a job from the command line and wait for its end."""

from __future__ import annotations

import time
from typing import Final

import typer
from rich.console import Console

from listenlake.pipeline import ACTIVE, Pipeline

POLL_SECONDS: Final = 0.5


def run_to_end(console: Console, pipeline: Pipeline, job: str, arguments: dict[str, str]) -> str:
    """Start a job, print how it ended, and return the run's id.

    Raises:
        typer.Exit: It did not succeed.
    """
    run_id = pipeline.start(job, arguments)
    console.print(f"run {run_id} of {job} started", highlight=False)
    while (run := next(one for one in pipeline.runs(job) if one["Id"] == run_id))["JobRunState"] in ACTIVE:
        time.sleep(POLL_SECONDS)
    console.print(f"{run['JobRunState']} {run.get('ErrorMessage', '')}".strip(), markup=False, highlight=False)
    if run["JobRunState"] != "SUCCEEDED":
        raise typer.Exit(1)
    return run_id
