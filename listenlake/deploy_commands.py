"""The command `deploy`: the pipeline on a real AWS account."""

from __future__ import annotations

import os
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from infra.configuration import Configuration, declared_context
from listenlake.cost_commands import DEV, Kind
from listenlake.deployment import (
    Placement,
    PlacementError,
    assembly,
    describe,
    find_target,
    read_stacks,
    run_on_terminal,
)
from local_cloud.state import PROJECT
from local_cloud.toolchain import Toolchain


def register(app: typer.Typer, console: Console) -> None:
    """Add the command to the application."""

    @app.command()
    def deploy(
        *,
        prefix: Annotated[str, typer.Option(help="Put before bucket names, which are global: choose your own.")],
        profile: Annotated[str, typer.Option(help="AWS profile; the environment's credentials by default.")] = "",
        region: Annotated[str, typer.Option(help="AWS region; the profile's by default.")] = "",
        environment: Annotated[Kind, typer.Option(help="Kind of placement.")] = DEV,
        alarm_email: Annotated[str, typer.Option(help="Who is told of alarms.")] = "",
        bootstrap: Annotated[bool, typer.Option("--bootstrap", help="First place what the CDK itself needs.")] = False,
        diff: Annotated[bool, typer.Option("--diff", help="Only show what would change.")] = False,
        yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    ) -> None:
        """Deploy to AWS, after saying what and where. Example: listenlake deploy --profile me --prefix acme --diff."""
        given = {"prefix": prefix, "environment": str(environment), "alarm_email": alarm_email}
        context = declared_context() | {f"listenlake:{name}": value for name, value in given.items()}
        configuration = Configuration.from_context(context)
        tools = Toolchain.load(PROJECT / ".tools")
        target = find_target(profile, region)
        placement = Placement(target=target, tools=tools, host=os.environ, run=run_on_terminal)
        with assembly(configuration, tools, os.environ, run_on_terminal) as folder:
            plan = Table("deploy", "what", show_header=False)
            for name, value in describe(target, configuration, read_stacks(folder)).items():
                plan.add_row(name, value)
            console.print(plan)
            if diff:
                placement.diff(folder)
                return
            if not (target.has_bootstrap or bootstrap):
                raise PlacementError(
                    expected=f"the CDK's own stack in account {target.account}, {target.region}",
                    found="none",
                    do="Add --bootstrap, once for each account and region.",
                )
            if not yes:
                typer.confirm("Create or change these, at the costs that `listenlake costs` tells?", abort=True)
            if bootstrap:
                placement.bootstrap()
            placement.deploy(folder)
        console.print("deployed. Next: docs/operations.md, After the first deployment")
