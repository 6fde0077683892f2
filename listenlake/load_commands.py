"""The commands `produce` and `watch`: sending listens at a rate, and seeing whether a real consumer gets them all."""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.live import Live

from listenlake.connection import connect
from listenlake.load import LoadTest, run_load
from listenlake.load_options import count_dates, parse_fields, parse_seconds, plan_synthetic
from listenlake.load_summary import show_load_summary
from listenlake.options import DEFAULT_STATE, AsJson, State
from listenlake.screen import Progress as Tell
from listenlake.watch.screen import progress_table
from listenlake.watch.session import LATEST, TRIM_HORIZON, Watch, WatchSettings
from listenlake.watch.target import find_target
from producers.chaos import Chaos
from producers.faults import FaultRates
from producers.manifest import MANIFEST, read_manifest
from producers.packing import AGGREGATE_BYTES
from producers.profiles import PROFILES
from producers.run import Pace
from producers.settings import DeliverySettings
from producers.shape import ListenShape

AGGREGATE_LINGER_S: Final = 0.2


def register(app: typer.Typer, console: Console, errors: Console) -> None:
    """Add the commands to the application."""

    @app.command()
    def produce(
        *,
        state: State = DEFAULT_STATE,
        events: Annotated[int | None, typer.Option(help="Events to send; 30,000 if nothing else says.")] = None,
        rate: Annotated[float | None, typer.Option(help="Events a second; as fast as possible by default.")] = None,
        duration: Annotated[
            float | None, typer.Option(parser=parse_seconds, metavar="TIME", help="How long: 90, 60s, 10m, 1h.")
        ] = None,
        profile: Annotated[str, typer.Option(help=f"Load over time: {', '.join(PROFILES)}.")] = "constant",
        speedup: Annotated[
            float | None, typer.Option(help="Seconds of listen time per second of the test, from --from on.")
        ] = None,
        first: Annotated[
            datetime | None, typer.Option("--from", "--start", formats=["%Y-%m-%d"], help="First listen date.")
        ] = None,
        last: Annotated[datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Last listen date.")] = None,
        dates: Annotated[int | None, typer.Option(help="Number of listen dates, instead of --to.")] = None,
        seed: Annotated[int, typer.Option(help="Seed of everything.")] = 1,
        faults: Annotated[str | None, typer.Option(help="Rates of faults: late=2%,malformed=0.5%,…")] = None,
        shape: Annotated[str | None, typer.Option(help="How people listen: zipf=1.1,repetition=0.5,…")] = None,
        replay: Annotated[list[Path] | None, typer.Option(help="Send the rows of these CSV files instead.")] = None,
        aggregate: Annotated[bool, typer.Option("--aggregate", help="Many events a record, as JSON lines.")] = False,
        aggregate_bytes: Annotated[int, typer.Option(help="Size of an aggregate.")] = AGGREGATE_BYTES,
        linger: Annotated[
            float | None, typer.Option(parser=parse_seconds, metavar="TIME", help="How long events gather for a call.")
        ] = None,
        workers: Annotated[int, typer.Option(help="Processes that make and send.")] = 1,
        concurrency: Annotated[int, typer.Option(help="Calls at once, per process.")] = 2,
        retry_for: Annotated[
            float, typer.Option(parser=parse_seconds, metavar="TIME", help="How long one record is tried again.")
        ] = 60.0,
        chaos: Annotated[
            str | None, typer.Option(help="Trouble: throttle=5%,partial=2%,timeout=1%,outage=10s@30s")
        ] = None,
        watch: Annotated[bool, typer.Option("--watch", help="Consume the stream meanwhile, and verify.")] = False,
        watchers: Annotated[int, typer.Option(help="Watching daemons, which share the shards.")] = 1,
        catalog: Annotated[
            Path | None,
            typer.Option(help="Folder of users/ and songs/ to put where the jobs read them; made if not there."),
        ] = None,
        manifest: Annotated[Path | None, typer.Option(help="Folder for the truth manifest.")] = None,
        report: Annotated[Path | None, typer.Option(help="File for the HTML report.")] = None,
        as_json: AsJson = False,
    ) -> None:
        """Send listens at a rate, write the truth about them and a report.

        Example: listenlake produce --rate 500 --duration 60s --watch
        """
        connection = connect(state)
        folder = catalog or state / "producer"
        truth = manifest or folder / "truth"
        synthetic, pace = None, Pace(profile=profile, rate=rate, duration_s=duration)
        if not replay:
            synthetic, pace = plan_synthetic(
                pace,
                events=events,
                speedup=speedup,
                first=first,
                dates=count_dates(first, last, dates),
                seed=seed,
                rates=parse_fields(FaultRates, faults),
                shape=parse_fields(ListenShape, shape),
            )
        test = LoadTest(
            pace=pace,
            delivery=DeliverySettings(
                workers=workers,
                concurrency=concurrency,
                # What was due in time is still sent when the stream fell behind, for as long as a record is tried.
                duration_s=duration + retry_for if duration is not None and rate is not None else duration,
                linger_s=linger if linger is not None else AGGREGATE_LINGER_S if aggregate else 0.05,
                aggregate_bytes=aggregate_bytes if aggregate else 0,
                retry_for_s=retry_for,
            ),
            synthetic=synthetic,
            files=tuple(replay or ()),
            catalog=folder,
            manifest=truth,
            report=report or truth.parent / "report.html",
            seed=seed,
            watchers=watchers if watch else 0,
            chaos=Chaos.parse(chaos) if chaos else None,
        )
        stop_on_signals(test.stop)
        tell = Tell(errors)
        result = run_load(connection, state, test, errors, tell)
        tell(f"the truth is in {truth}, the report in {test.report}")
        if as_json:
            typer.echo(json.dumps(result.report.to_json() | {"manifest": str(truth)}, ensure_ascii=False))
        else:
            show_load_summary(console, result.report)
        if watch and not result.is_good:
            raise typer.Exit(1)

    @app.command()
    def watch(
        *,
        state: State = DEFAULT_STATE,
        folder: Annotated[Path | None, typer.Option(help="Folder of the watch; one that was killed resumes.")] = None,
        workers: Annotated[int, typer.Option(help="Daemons, which share the shards.")] = 1,
        latest: Annotated[bool, typer.Option("--latest", help="Leave out what is in the stream already.")] = False,
        verify: Annotated[
            Path | None, typer.Option(help="Folder of a truth manifest: end with a verdict on it, once it is there.")
        ] = None,
        timeout: Annotated[
            float, typer.Option(parser=parse_seconds, metavar="TIME", help="How long --verify waits at most.")
        ] = 3_600.0,
        as_json: AsJson = False,
    ) -> None:
        """Consume the stream with the Amazon Kinesis Client and tell what comes.

        Example: listenlake watch --workers 2 --verify .listenlake/producer/truth
        """
        connection = connect(state)
        settings = WatchSettings(workers=workers, position=LATEST if latest else TRIM_HORIZON)
        stop = threading.Event()
        stop_on_signals(stop)
        tell = Tell(errors)
        target = find_target(connection, state)
        with Watch(folder or state / "watch", target, settings, on_event=tell) as session:
            session.wait_until_reading()
            tell("every shard is read")
            ready = follow(session, errors, stop, verify, timeout)
            if verify is None or not ready:
                if as_json:
                    typer.echo(json.dumps(dataclasses.asdict(session.progress())))
                else:
                    console.print(progress_table(session.progress()))
                return
            ledger = read_manifest(verify).truth.records
            session.wait_for(ledger, timeout=timeout)
            found = session.verify(ledger)
        typer.echo(json.dumps(found.to_json())) if as_json else console.print(found.verdict(), highlight=False)
        if not found.is_good:
            raise typer.Exit(1)


def follow(session: Watch, errors: Console, stop: threading.Event, verify: Path | None, timeout: float) -> bool:
    """Show what comes until told to stop, or until there is a manifest to verify; return whether there is one."""
    deadline = time.monotonic() + timeout
    with Live(console=errors, auto_refresh=False, transient=True) as live:
        while not stop.is_set() and (verify is None or time.monotonic() < deadline):
            if verify is not None and (verify / MANIFEST).is_file():
                return True
            # Looked at without a terminal too: this is where a daemon that keeps dying is noticed.
            table = progress_table(session.progress())
            if errors.is_terminal:
                live.update(table, refresh=True)
            stop.wait(0.5)
    return False


def stop_on_signals(stop: threading.Event) -> None:
    """End gracefully on Ctrl-C and SIGTERM, at once on the second of them."""

    def end(number: int, _frame: object) -> None:
        if stop.is_set():
            sys.exit(128 + number)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
