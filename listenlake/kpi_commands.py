"""The commands `kpis run` and `kpis rebuild`: start kpi_transformation in one of its modes, and wait for its end."""

from __future__ import annotations

from typing import Annotated, Literal

import typer
from rich.console import Console

from lakehouse import layout
from listenlake.connection import connect
from listenlake.job_runs import run_to_end
from listenlake.options import DEFAULT_STATE, State
from listenlake.pipeline import Pipeline

Mode = Literal["incremental", "recompute", "rebuild", "maintain"]


def register(kpis_app: typer.Typer, console: Console) -> None:
    """Add the commands to `kpis`."""

    @kpis_app.command("run")
    def run(
        *,
        state: State = DEFAULT_STATE,
        mode: Annotated[Mode, typer.Option(help="What to do, see above.")] = "incremental",
        from_date: Annotated[str, typer.Option(help="First date of a recompute.")] = "-",
        to_date: Annotated[str, typer.Option(help="Last date of a recompute.")] = "-",
        repair: Annotated[bool, typer.Option(help="Put right what a recompute finds different.")] = False,
    ) -> None:
        """Compute and serve KPIs, now. Example: listenlake kpis run --mode recompute --from-date 2024-06-25.

        incremental adds what came since the last run; recompute computes dates from all their listens and fails when
        that differs from what is published, or puts it right with --repair; rebuild serves DynamoDB anew from Delta;
        maintain compacts and vacuums the tables.
        """
        arguments = {"--mode": mode, "--from_date": from_date, "--to_date": to_date, "--repair": str(repair).lower()}
        run_to_end(console, Pipeline(connect(state)), layout.KPI_JOB, arguments)

    @kpis_app.command("rebuild")
    def rebuild(*, state: State = DEFAULT_STATE) -> None:
        """Serve both DynamoDB tables anew from Delta. Example: listenlake kpis rebuild."""
        run_to_end(console, Pipeline(connect(state)), layout.KPI_JOB, {"--mode": "rebuild"})
