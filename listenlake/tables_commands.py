"""The commands that look after tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from lakehouse import layout
from listenlake.connection import connect
from listenlake.job_runs import run_to_end
from listenlake.pipeline import Pipeline
from local_cloud.state import PROJECT

State = Annotated[
    Path, typer.Option(envvar="LISTENLAKE_STATE", help="Folder of the local cloud.", show_default=".listenlake")
]
DEFAULT_STATE: Final = PROJECT / ".listenlake"


def register(kpis_app: typer.Typer, console: Console) -> None:
    """Add the commands to the application."""

    @kpis_app.command("rebuild")
    def rebuild(*, state: State = DEFAULT_STATE) -> None:
        """Serve both DynamoDB tables anew from Delta. Example: listenlake kpis rebuild."""
        run_to_end(console, Pipeline(connect(state)), layout.KPI_JOB, {"--mode": "rebuild"})
