"""The command `listenlake`: one Typer command a verb; each prints for people, or one JSON object with `--json`."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from botocore.exceptions import BotoCoreError
from rich.console import Console

from lakehouse import layout
from lakehouse.errors import ListenlakeError
from listenlake import (
    audit_commands,
    bad_commands,
    cost_commands,
    deploy_commands,
    kpi_commands,
    screen,
    status_commands,
    transform_command,
    trigger_commands,
)
from listenlake.connection import NotConnectedError, connect
from listenlake.demo import DemoSettings, check_data, run_demo
from listenlake.load_commands import register
from listenlake.options import DEFAULT_STATE, AsJson, State
from listenlake.pipeline import Pipeline
from listenlake.served import read_served
from listenlake.tables_commands import register as register_tables
from local_cloud import lifecycle

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Streaming ETL for music listens, exactly once.",
)
kpis_app = typer.Typer(no_args_is_help=True, help="Compute KPIs, and show what is served.")
app.add_typer(kpis_app, name="kpis")


# A file or a pipe has no width of its own; tables shall not be squeezed into 80 columns there.
WIDTH = None if sys.stdout.isatty() else 120
console = Console(width=WIDTH)
errors = Console(stderr=True, width=WIDTH)
register(app, console, errors)
kpi_commands.register(kpis_app, console)
register_tables(app, console)
for commands in (
    audit_commands,
    bad_commands,
    status_commands,
    transform_command,
    trigger_commands,
    cost_commands,
    deploy_commands,
):
    commands.register(app, console)


def main() -> None:
    """Run the command line; an error that was foreseen is one message and an exit code, not a trace."""
    signal.signal(signal.SIGTERM, _exit_on_signal)
    try:
        app()
    except ListenlakeError as error:
        _fail(error)
    except BotoCoreError as error:
        _fail(
            NotConnectedError(
                expected="region, credentials and an endpoint that answers, as AWS_* name them",
                found=str(error),
                do='A local cloud may have ended: run `listenlake up`, and `eval "$(listenlake env)"` anew.',
            )
        )


def _fail(error: ListenlakeError) -> NoReturn:
    errors.print(f"[bold red]error[/bold red] {type(error).__name__}: ", end="")
    errors.print(str(error), markup=False, highlight=False)
    sys.exit(error.exit_code)


def _exit_on_signal(number: int, _frame: object) -> None:
    sys.exit(128 + number)


@app.command()
def up(
    *,
    state: State = DEFAULT_STATE,
    port: Annotated[int | None, typer.Option(help="Port of the AWS endpoint; a free one by default.")] = None,
) -> None:
    """Start the local cloud and deploy the stack on it. Example: listenlake up --port 4566."""
    cloud = lifecycle.up(state, port=port, on_progress=screen.Progress(console))
    cloud.detach()
    console.print(
        'up. Next: listenlake ingest, listenlake produce, listenlake kpis show; eval "$(listenlake env)" for your shell'
    )


@app.command()
def down(*, state: State = DEFAULT_STATE) -> None:
    """Stop the local cloud and everything it runs. Example: listenlake down."""
    ended = lifecycle.down(state)
    console.print(f"down: {ended} processes ended" if ended else "nothing was running")


@app.command()
def env(*, state: State = DEFAULT_STATE) -> None:
    """Print the variables that point a shell at the local cloud. Example: eval "$(listenlake env)"."""
    cloud = lifecycle.load(state)
    if cloud is None:
        raise ListenlakeError(expected=f"a local cloud under {state}", found="none", do="Run `listenlake up`.")
    # The project's tools first: pyspark's scripts take the python3 of PATH.
    path = f"{Path(sys.executable).parent}{os.pathsep}$PATH"
    typer.echo(f'export PATH="{path}"')
    for name, value in cloud.environment.items():
        typer.echo(f"export {name}={shlex.quote(value)}")


@app.command()
def ingest(
    *, state: State = DEFAULT_STATE, stop: Annotated[bool, typer.Option(help="Stop it instead.")] = False
) -> None:
    """Start continuous ingestion, or stop it. Example: listenlake ingest --stop."""
    pipeline = Pipeline(connect(state))
    if stop:
        pipeline.stop(layout.INGEST_JOB)
        console.print("asked to finish its micro-batch and stop")
    else:
        console.print(f"run {pipeline.start(layout.INGEST_JOB)} of {layout.INGEST_JOB} started")


@kpis_app.command("show")
def show_kpis(
    *,
    state: State = DEFAULT_STATE,
    day: Annotated[datetime | None, typer.Option("--date", formats=["%Y-%m-%d"], help="One listen date.")] = None,
    genre: Annotated[str | None, typer.Option(help="One genre.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print what DynamoDB serves. Example: listenlake kpis show --date 2024-06-25 --json."""
    connection = connect(state)
    served = read_served(
        connection.client("dynamodb"), connection.places, date=f"{day:%Y-%m-%d}" if day else None, genre=genre
    )
    if as_json:
        _print_json(served.to_json())
    else:
        screen.show_kpis(console, served)


@app.command()
def demo(
    *,
    state: State = DEFAULT_STATE,
    events: Annotated[int, typer.Option(help="Synthetic records to send, faults included.")] = 30_000,
    rate: Annotated[float, typer.Option(help="Records a second.")] = 1_500.0,
    seed: Annotated[int, typer.Option(help="Seed of everything.")] = 1,
    aggregate: Annotated[bool, typer.Option("--aggregate", help="Many events a record, as JSON lines.")] = False,
    data: Annotated[
        Path | None, typer.Option(help="Your own users/users.csv, songs/songs.csv and streams/*.csv.")
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait after the last record.")] = 600.0,
    port: Annotated[int | None, typer.Option(help="Port of the AWS endpoint; a free one by default.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run the whole pipeline here and compare what it serves with the truth. Example: listenlake demo --keep."""
    check_data(data)
    tell = screen.Progress(errors if as_json else console)
    settings = DemoSettings(
        events=events, seed=seed, rate=rate, aggregate=aggregate, data=data, timeout_seconds=timeout
    )
    with lifecycle.up(state, port=port, on_progress=tell) as cloud:
        result = run_demo(connect(state), settings, state / "demo", tell)
        if keep:
            cloud.detach()
        if not as_json:
            screen.show_demo(console, result, state=str(state), places=cloud.places, kept=keep)
    tell("left running; end it with `listenlake down`" if keep else "everything is stopped")
    if as_json:
        _print_json(result.to_json())
    else:
        for line in result.comparison.differences:
            console.print(line, style="red", markup=False, highlight=False)
        console.print(f"listenlake demo: {result.comparison.verdict()}", highlight=False, soft_wrap=True)
    if not result.is_equal:
        raise typer.Exit(1)


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, default=_plain))


def _plain(value: object) -> Any:
    if isinstance(value, date):
        return value.isoformat()
    # A Decimal: counts are whole, an average has two places; both are exact as JSON numbers.
    number = float(value)  # type: ignore[arg-type]
    return int(number) if number.is_integer() and "." not in str(value) else number
