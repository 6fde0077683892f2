"""The command `costs`: what a placement costs idle and per million events, by the price list of the repository."""

from __future__ import annotations

import dataclasses
import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from infra.environments import ENVIRONMENTS
from listenlake.cost_model import PRICE_NAMES, Line, Workload, estimate_bill
from listenlake.options import AsJson
from producers.report.cost import Prices, load_prices

RATES: Final = [100.0, 1_000.0, 10_000.0]
Kind = StrEnum("Kind", {name: name for name in ENVIRONMENTS if name != "laptop"})  # type: ignore[misc]
DEV: Final = Kind("dev")
DEFAULTS: Final = Workload()


def register(app: typer.Typer, console: Console) -> None:
    """Add the command to the application."""

    @app.command()
    def costs(
        *,
        environment: Annotated[Kind, typer.Option(help="Kind of placement.")] = DEV,
        rate: Annotated[list[float], typer.Option(min=0.001, help="Events a second; may be given again.")] = RATES,
        event_bytes: Annotated[int, typer.Option(min=1, help="Bytes of an event.")] = DEFAULTS.event_bytes,
        aggregate: Annotated[bool, typer.Option(help="Many events go in one Kinesis record.")] = False,
        run_seconds: Annotated[float, typer.Option(min=1, help="Seconds of one batch run.")] = DEFAULTS.run_seconds,
        prices: Annotated[Path | None, typer.Option(help="A price list of your own.", dir_okay=False)] = None,
        as_json: AsJson = False,
    ) -> None:
        """Estimate what AWS bills, idle and per million events. Example: listenlake costs --environment prod."""
        workload = Workload(event_bytes=event_bytes, aggregated=aggregate, run_seconds=run_seconds)
        listed = load_prices(prices, PRICE_NAMES)
        lines = estimate_bill(ENVIRONMENTS[environment], workload, rate, listed)
        if as_json:
            found = {"environment": str(environment), "currency": listed.currency, "region": listed.region}
            typer.echo(json.dumps(found | {"lines": [dataclasses.asdict(line) for line in lines]}))
            return
        console.print(_table(lines, rate, listed))
        assumed = ", ".join(f"{name} {value}" for name, value in dataclasses.asdict(workload).items())
        console.print(f"Assumed: {assumed}.", highlight=False)
        console.print(
            "Not in it: KMS, CloudWatch, Athena, data transfer, support, tax; free tiers and discounts.",
            highlight=False,
        )


def _table(lines: list[Line], rates: list[float], prices: Prices) -> Table:
    table = Table(title=f"{prices.currency}, list prices of {prices.region}")
    table.add_column("part")
    table.add_column("idle, a month", justify="right")
    for rate in rates:
        table.add_column(f"a million at {rate:,g}/s", justify="right")
    for line in lines:
        if line is lines[-1]:
            table.add_section()
        amounts = (f"{line.per_million[rate]:,.4f}" for rate in rates)
        table.add_row(line.part, f"{line.idle_month:,.2f}", *amounts)
    return table
