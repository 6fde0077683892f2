"""The commands `bad list`, `bad show` and `bad replay`: what was rejected and why, and sending it back."""

from __future__ import annotations

import dataclasses
import json
import uuid
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table

from lakehouse.bad_records import BadRecord, Group, Selection, group_records
from listenlake.bad_fix import CASTS, Fix
from listenlake.bad_replay import BadRecordStore
from listenlake.connection import connect
from listenlake.options import DEFAULT_STATE, AsJson, State

_TIMES: Final = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]

Reason = Annotated[str | None, typer.Option(help="Only this reason code.")]
Fingerprint = Annotated[str | None, typer.Option(help="Only this fingerprint, or how it begins.")]
Since = Annotated[datetime | None, typer.Option(formats=_TIMES, help="Only what arrived from then on (UTC).")]
Until = Annotated[datetime | None, typer.Option(formats=_TIMES, help="Only what arrived before then (UTC).")]


def register(app: typer.Typer, console: Console) -> None:
    """Add the group `bad` to the application."""
    bad = typer.Typer(no_args_is_help=True, help="See rejected events, and send them back when their cause is gone.")
    app.add_typer(bad, name="bad")

    @bad.command("list")
    def list_groups(
        *,
        reason: Reason = None,
        fingerprint: Fingerprint = None,
        since: Since = None,
        until: Until = None,
        state: State = DEFAULT_STATE,
        as_json: AsJson = False,
    ) -> None:
        """List the causes with their numbers of records. Example: listenlake bad list --reason missing_field."""
        store = _open(state)
        selection = _select(reason, fingerprint, since, until)
        groups = group_records(filter(selection.holds, store.read()), replayed=store.read_sent().positions)
        if as_json:
            typer.echo(_to_json({"groups": [dataclasses.asdict(group) for group in groups]}))
            return
        console.print(_as_table(groups))

    @bad.command()
    def show(
        fingerprint: Annotated[str, typer.Argument(help="A group's fingerprint, or how it begins.")],
        *,
        limit: Annotated[int, typer.Option(min=1, help="Records to show.")] = 10,
        payload: Annotated[bool, typer.Option("--payload", help="Show what was sent, which may be personal.")] = False,
        state: State = DEFAULT_STATE,
        as_json: AsJson = False,
    ) -> None:
        """Show where records of one cause came from. Example: listenlake bad show 3f2a --limit 3 --payload."""
        found = islice(filter(Selection(fingerprint=fingerprint).holds, _open(state).read()), limit)
        records = [_describe(record, payload=payload) for record in found]
        if as_json:
            typer.echo(_to_json({"records": records}))
            return
        for record in records:
            for name, value in record.items():
                console.print(f"{name:16} {value}", markup=False, highlight=False, soft_wrap=True)
            console.print()

    @bad.command()
    def replay(
        *,
        reason: Reason = None,
        fingerprint: Fingerprint = None,
        since: Since = None,
        until: Until = None,
        rename: Annotated[list[str] | None, typer.Option(metavar="OLD=NEW", help="Rename a field.")] = None,
        cast: Annotated[list[str] | None, typer.Option(metavar="FIELD=TYPE", help=f"To {', '.join(CASTS)}.")] = None,
        default: Annotated[list[str] | None, typer.Option(metavar="FIELD=VALUE", help="Where it is absent.")] = None,
        constant: Annotated[list[str] | None, typer.Option(metavar="FIELD=VALUE", help="In every event.")] = None,
        force: Annotated[bool, typer.Option("--force", help="Send also what was rejected again and again.")] = False,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent; send nothing.")] = False,
        state: State = DEFAULT_STATE,
        as_json: AsJson = False,
    ) -> None:
        """Send rejected events through the pipeline again, each once, fixed on the way if asked.

        Example: listenlake bad replay --fingerprint 3f2a --rename userId=user_id --cast user_id=integer
        """
        selection = _select(reason, fingerprint, since, until)
        if selection == Selection():
            raise typer.BadParameter("name what to replay: --reason, --fingerprint, --since or --until")
        fix = Fix.parse(rename=rename or [], cast=cast or [], default=default or [], constant=constant or [])
        store, groups = _open(state), None
        if dry_run:
            outcome, groups = store.preview(selection, fix, force=force)
        else:
            replay_id = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"
            outcome = store.replay(selection, fix, replay_id=replay_id, force=force)
        facts = dataclasses.asdict(outcome)
        if as_json:
            told = {} if groups is None else {"groups": [dataclasses.asdict(group) for group in groups]}
            typer.echo(_to_json(facts | told))
            return
        for name, value in facts.items():
            console.print(f"{name.replace('_', ' '):16} {value}", highlight=False)
        if groups:
            console.print(_as_table(groups))


def _open(state: Path) -> BadRecordStore:
    connection = connect(state)
    return BadRecordStore(
        s3=connection.client("s3"),
        kinesis=connection.client("kinesis"),
        bucket=connection.places.raw_bucket,
        stream=connection.places.stream,
        now=lambda: datetime.now(UTC),
    )


def _select(reason: str | None, fingerprint: str | None, since: datetime | None, until: datetime | None) -> Selection:
    return Selection(
        reason=reason,
        fingerprint=fingerprint,
        since=since.replace(tzinfo=UTC) if since else None,
        until=until.replace(tzinfo=UTC) if until else None,
    )


def _describe(record: BadRecord, *, payload: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "fingerprint": record.fingerprint,
        "reason": record.reason,
        "message": record.message,
        **record.position._asdict(),
        "arrived_at": record.arrived_at,
        "source_batch": record.source_batch,
    }
    return shown | ({"payload": record.data.decode(errors="backslashreplace")} if payload else {})


def _as_table(groups: list[Group]) -> Table:
    table = Table("fingerprint", "reason", "message", "records", "replayed", "first seen", "last seen")
    for one in groups:
        seen = (_moment(one.first_seen), _moment(one.last_seen))
        table.add_row(one.fingerprint, one.reason, one.message, f"{one.records:,}", f"{one.replayed:,}", *seen)
    return table


def _moment(value: datetime | None) -> str:
    return "" if value is None else value.isoformat(sep=" ", timespec="seconds")


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=datetime.isoformat)
