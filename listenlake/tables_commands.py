"""The command `tables`: the state of the Delta tables."""

from __future__ import annotations

import json

import typer
from rich.console import Console
from rich.table import Table

from listenlake.connection import connect
from listenlake.options import DEFAULT_STATE, AsJson, State
from listenlake.table_states import TableState, describe_tables


def register(app: typer.Typer, console: Console) -> None:
    """Add the command to the application."""

    @app.command()
    def tables(
        *,
        state: State = DEFAULT_STATE,
        as_json: AsJson = False,
    ) -> None:
        """Show the Delta tables: versions, files, bytes, dates. Example: listenlake tables --json."""
        connection = connect(state)
        found = describe_tables(connection.client("s3"), connection.client("dynamodb"), connection.places)
        if as_json:
            typer.echo(json.dumps({"tables": [one.to_json() for one in found]}))
        else:
            console.print(_as_table(found))


def _as_table(states: list[TableState]) -> Table:
    shown = Table("table", "version", "checkpoint", "read up to", "files", "bytes", "dates", "most files of a date")
    for one in states:
        dates = "-" if one.dates is None else f"{one.dates}: {one.first_date} to {one.last_date}"
        numbers = (one.version, one.checkpoint, one.read_up_to, one.files, one.bytes)
        texts = ["-" if number in (None, -1) else f"{number:,}" for number in numbers]
        most = "-" if one.most_files_of_a_date is None else str(one.most_files_of_a_date)
        shown.add_row(one.table, *texts, dates, most)
    return shown
