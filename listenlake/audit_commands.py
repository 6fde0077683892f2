"""The command `audit`: the account from the acknowledgement to DynamoDB, or the stage and minute that breaks it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import pyarrow as pa
import typer
from rich.console import Console
from rich.table import Table

from listenlake.audit import Account, AuditReport, audit
from listenlake.connection import connect
from listenlake.options import DEFAULT_STATE, AsJson, State
from producers.manifest import read_manifest

SHOWN: Final = 50


def register(app: typer.Typer, console: Console) -> None:
    """Add the command to the application."""

    @app.command("audit")
    def run_audit(
        *,
        state: State = DEFAULT_STATE,
        truth: Annotated[
            list[Path] | None, typer.Option(help="Folder of a producer's truth manifest; may be given again.")
        ] = None,
        as_json: AsJson = False,
    ) -> None:
        """Account for every listen, stage by stage. Example: listenlake audit --truth .listenlake/demo/truth."""
        manifests = [read_manifest(folder) for folder in truth or []]
        records = pa.concat_tables([one.truth.records for one in manifests]) if manifests else None
        connection = connect(state)
        report = audit(
            connection.client("s3"),
            connection.client("dynamodb"),
            connection.places,
            now=datetime.now(UTC),
            records=records,
        )
        if as_json:
            typer.echo(json.dumps(report.to_json(), ensure_ascii=False))
        else:
            _show(console, report)
        if not report.is_clean:
            raise typer.Exit(1)


def _show(console: Console, report: AuditReport) -> None:
    stages = Table("stage", "rows", "sum of id hashes", title="Audit")
    for stage in report.stages:
        stages.add_row(stage["stage"], f"{stage['rows']:,}", stage["hash"])
    console.print(stages)
    console.print(_account_table(report.account))
    for finding in report.findings[:SHOWN]:
        console.print(finding.describe(), style="red", markup=False, highlight=False, soft_wrap=True)
    if len(report.findings) > SHOWN:
        console.print(f"… and {len(report.findings) - SHOWN:,} more: --json has them all", highlight=False)
    if not report.account.closes:
        console.print(report.account.describe_gap(), style="red", highlight=False, soft_wrap=True)
    differences = f"{len(report.findings):,} differences" if report.findings else "nothing lost, doubled or changed"
    verdict = "the account closes" if report.account.closes else "the account does not close"
    console.print(f"listenlake audit: {verdict}; {differences}; {report.seconds:.1f} s", highlight=False)


def _account_table(account: Account) -> Table:
    shown = Table("events", "rows", title="Account")
    shown.add_row("received", f"{account.received:,}", end_section=True)
    shown.add_row("accepted", f"{account.accepted:,}")
    shown.add_row("duplicate", f"{account.duplicate:,}")
    for reason, rows in sorted(account.rejected.items()):
        shown.add_row(f"rejected: {reason}", f"{rows:,}")
    shown.add_row("in batches not yet merged", f"{account.in_flight:,}")
    if account.expired:
        shown.add_row("of batches whose rejects have expired", f"{account.expired:,}")
    if account.recovered:
        shown.add_row("accepted or duplicate after a replay", f"{account.recovered:,}", style="dim")
    return shown
