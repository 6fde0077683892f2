"""The commands `requests` and `start`: what the trigger has been asked for, and asking it by hand."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from lakehouse.errors import ListenlakeError
from lakehouse.settings import TriggerSettings
from lambdas.start_jobs.counters import Counters
from lambdas.start_jobs.decisions import Counts
from lambdas.start_jobs.messages import Request
from listenlake.connection import Connection, connect
from listenlake.options import DEFAULT_STATE, AsJson, State


class StartError(ListenlakeError):
    """The trigger could not do what was asked of it by hand."""


def register(app: typer.Typer, console: Console) -> None:
    """Add the commands to the application."""

    @app.command()
    def requests(*, state: State = DEFAULT_STATE, as_json: AsJson = False) -> None:
        """Show what waits for a run, and what is parked after failures. Example: listenlake requests --json."""
        found = read_requests(connect(state))
        if as_json:
            typer.echo(json.dumps({"requests": found}))
            return
        table = Table("request", "state", "requested", "succeeded", "failures in a row")
        for one in found:
            table.add_row(*(str(value) for value in one.values()))
        console.print(table)
        if any(one["state"] == "parked" for one in found):
            console.print("parked: repair the cause, then `listenlake start REQUEST`")

    @app.command()
    def start(
        request: Annotated[Request, typer.Argument(help="What shall run.")],
        *,
        state: State = DEFAULT_STATE,
        as_json: AsJson = False,
    ) -> None:
        """Ask the trigger for a run, which also unparks the request. Example: listenlake start kpi_recompute."""
        woken = ask_trigger(connect(state), request)
        if as_json:
            typer.echo(json.dumps(woken))
            return
        for name, result in woken.items():
            console.print(f"{name}: {result['outcome']} {result.get('run_id', '')}".rstrip(), highlight=False)


def read_requests(connection: Connection) -> list[dict[str, Any]]:
    """Return the state and the counters of each request."""
    counters = Counters(connection.client("dynamodb"), connection.places.control_table)
    found = [(request, counters.read(request)) for request in Request]
    return [
        {"request": str(request), "state": _describe(counts), **dataclasses.asdict(counts)} for request, counts in found
    ]


def _describe(counts: Counts) -> str:
    # The Lambda's own limit is read from its environment there; the stack leaves it at the default.
    if counts.failures >= TriggerSettings.max_failures:
        return "parked"
    return "outstanding" if counts.requested > counts.succeeded else "done"


def ask_trigger(connection: Connection, request: Request) -> dict[str, dict[str, str]]:
    """Ask the deployed Lambda for a run and return what happened to each request that it woke.

    Raises:
        StartError: The Lambda failed.
    """
    payload = json.dumps({"request": request}).encode()
    answer = connection.client("lambda").invoke(FunctionName=TriggerSettings.program, Payload=payload)
    body = answer["Payload"].read()
    if answer.get("FunctionError"):
        raise StartError(
            expected=f"{TriggerSettings.program} to take the request {request}",
            found=f"the Lambda's error {json.loads(body).get('errorType', 'of no type')}",
            do="Its log says why; repair that and ask again.",
        )
    return dict(json.loads(body))
