"""The command `transform`: a run of `batch_transform`, now, or what it would do."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console

from lakehouse import layout
from listenlake.connection import connect
from listenlake.job_runs import run_to_end
from listenlake.options import DEFAULT_STATE, State
from listenlake.pipeline import Pipeline

Step = Annotated[str, typer.Option(help="transform, archive, all or maintain.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, as JSON, and change nothing.")]
Rate = Annotated[float | None, typer.Option(min=0, max=1, help="Share of the input above which rejects stop the run.")]


def register(app: typer.Typer, console: Console) -> None:
    """Add the command to the application."""

    @app.command()
    def transform(
        *, state: State = DEFAULT_STATE, step: Step = "all", breaker_rate: Rate = None, dry_run: DryRun = False
    ) -> None:
        """Merge and archive what waits, now. Example: listenlake transform --step archive."""
        arguments = {"--step": step, "--dry_run": str(dry_run).lower()}
        if breaker_rate is not None:
            arguments["--breaker_rate"] = str(breaker_rate)
        pipeline = Pipeline(connect(state))
        run_id = run_to_end(console, pipeline, layout.TRANSFORM_JOB, arguments)
        if dry_run:
            reports = pipeline.reports(layout.TRANSFORM_JOB)
            typer.echo(json.dumps(next(report["would"] for report in reports if report["run_id"] == run_id)))
