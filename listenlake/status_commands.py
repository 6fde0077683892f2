"""The command `status`: is the cloud there, what do its jobs do, and how does ingestion stand?"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import typer
from rich.console import Console
from rich.table import Table

from lakehouse import layout
from listenlake.connection import Connection, NotConnectedError, connect
from listenlake.ingestion import IngestionState, describe_ingestion
from listenlake.options import DEFAULT_STATE, AsJson, State
from listenlake.pipeline import Pipeline
from local_cloud import lifecycle
from local_cloud.lifecycle import CloudStatus

JOBS: Final = (layout.INGEST_JOB, layout.TRANSFORM_JOB, layout.KPI_JOB)


def register(app: typer.Typer, console: Console) -> None:
    """Add the command to the application."""

    @app.command()
    def status(*, state: State = DEFAULT_STATE, as_json: AsJson = False) -> None:
        """Show the cloud, its job runs, and ingestion's batches and lag. Example: listenlake status --json."""
        local = lifecycle.status(state)
        connection = _find(state)
        runs = _runs_on_aws(connection) if connection and not connection.is_local else _local_runs(local)
        ingestion = describe_ingestion(connection, now=datetime.now(UTC)) if connection else None
        if as_json:
            found = {
                "running": local.running,
                "endpoint": local.record.endpoint if local.record and local.running else None,
                "processes": local.processes,
                "runs": runs,
                "ingestion": ingestion.to_json() if ingestion else None,
            }
            typer.echo(json.dumps(found, ensure_ascii=False, default=datetime.isoformat))
            return
        console.print(_describe(local, connection))
        for run in runs:
            console.print(f"{run['job']:20} {run['state']:10} {run['log']}", highlight=False, soft_wrap=True)
            if run["error"]:
                console.print(f"{'':20} {run['error']}", markup=False, highlight=False)
        if ingestion:
            show_ingestion(console, ingestion)


def show_ingestion(console: Console, ingestion: IngestionState) -> None:
    """Print the newest batch, the totals and the lag."""
    table = Table("ingestion", "batches", "accepted", "rejected", "bytes", "lag s", "seconds by phase")
    latest, totals = ingestion.latest, ingestion.totals
    if latest:
        told = (latest.accepted, latest.rejected, latest.payload_bytes, latest.lag_seconds, latest.seconds)
        table.add_row(f"batch of {latest.committed_at:%Y-%m-%d %H:%M:%S}", "1", *_cells(*told))
    told = (totals.accepted, totals.rejected, totals.payload_bytes, totals.lag_seconds, totals.seconds)
    table.add_row("last 24 hours", f"{totals.batches:,}", *_cells(*told))
    console.print(table)
    if ingestion.millis_behind is not None:
        behind = f"{ingestion.millis_behind / 1000:.1f} s behind the tip"
        console.print(f"when last read, the furthest of {ingestion.shards} shards was {behind}", highlight=False)


def _cells(
    accepted: int, rejected: dict[str, int], size: int | None, lag: float | None, seconds: dict[str, float]
) -> tuple[str, ...]:
    reasons = [f"{rows:,} {reason}" for reason, rows in sorted(rejected.items(), key=lambda pair: -pair[1])]
    return (
        f"{accepted:,}",
        "\n".join(reasons) or "0",
        "-" if size is None else f"{size:,}",
        "-" if lag is None else f"{lag:.1f}",
        ", ".join(f"{phase} {value:.1f}" for phase, value in seconds.items()) or "-",
    )


def _find(state: Path) -> Connection | None:
    try:
        return connect(state)
    except NotConnectedError:
        return None


def _describe(local: CloudStatus, connection: Connection | None) -> str:
    if local.running and local.record:
        return f"running: AWS at {local.record.endpoint}, Glue at {local.record.glue_endpoint}"
    if connection:
        return f"on AWS: {connection.places.raw_bucket}"
    return "crashed: run `listenlake down`" if local.crashed else "not running"


def _local_runs(local: CloudStatus) -> list[dict[str, Any]]:
    return [
        {"job": run.job_name, "run_id": run.id, "state": str(run.state), "error": run.error_message, "log": run.log}
        for run in local.runs
    ]


def _runs_on_aws(connection: Connection) -> list[dict[str, Any]]:
    """Return the newest run of each job; its log is the stream of that name in Glue's log group."""
    pipeline = Pipeline(connection)
    newest = [(job, max(runs, key=lambda run: run["StartedOn"])) for job in JOBS if (runs := pipeline.runs(job))]
    return [
        {
            "job": job,
            "run_id": run["Id"],
            "state": run["JobRunState"],
            "error": run.get("ErrorMessage"),
            "log": run["Id"],
        }
        for job, run in newest
    ]
