"""The commands `produce` and `watch`: sending listens at a rate, and seeing whether a real consumer gets them all."""

from __future__ import annotations

import dataclasses
import json
import re
import signal
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer
from rich.console import Console
from rich.live import Live

from listenlake.connection import connect
from listenlake.demo import LISTEN_DATES, first_date
from listenlake.load import LoadTest, run_load
from listenlake.load_summary import show_load_summary
from listenlake.screen import Progress as Tell
from listenlake.watch.screen import progress_table
from listenlake.watch.session import LATEST, TRIM_HORIZON, Watch, WatchSettings
from listenlake.watch.target import find_target
from local_cloud.state import PROJECT
from producers.chaos import Chaos
from producers.errors import ProducerError
from producers.faults import FaultRates
from producers.lanes import DeliverySettings
from producers.manifest import MANIFEST, read_manifest
from producers.packing import AGGREGATE_BYTES
from producers.profiles import PROFILES, build_window
from producers.run import DEFAULT_EVENTS, Pace
from producers.shape import ListenShape
from producers.synthetic import SyntheticSettings

Record = TypeVar("Record")

SECONDS: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(s|m|h|)")
UNITS: Final = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3_600.0}
AGGREGATE_LINGER_S: Final = 0.2


def parse_seconds(text: str | float) -> float:
    """Return a length of time such as `90`, `60s`, `10m` or `1h` in seconds; a default is a number already."""
    found = SECONDS.fullmatch(str(text).strip())
    if found is None:
        raise typer.BadParameter(f"expected a time such as 90, 60s, 10m or 1h; found {text!r}")
    return float(found[1]) * UNITS[found[2]]


def parse_fields(kind: type[Record], text: str | None) -> Record:
    """Return a settings record whose fields `name=number,name=5%` replace defaults.

    Raises:
        ProducerError: A name is no numeric field of the record, or its value no number.
    """
    known = {item.name for item in dataclasses.fields(kind) if item.type in ("float", "int")}  # type: ignore[arg-type]
    values: dict[str, float] = {}
    for part in (text or "").split(","):
        if not part.strip():
            continue
        name, _, value = part.strip().partition("=")
        number = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(%?)", value)
        if name not in known or number is None:
            raise ProducerError(
                expected=f"name=number or name=5%, with names among {', '.join(sorted(known))}",
                found=repr(part),
                do="Correct that part.",
            )
        values[name] = float(number[1]) / (100.0 if number[2] else 1.0)
    return kind(**values)


State = Annotated[
    Path, typer.Option(envvar="LISTENLAKE_STATE", help="Folder of the local cloud.", show_default=".listenlake")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
DEFAULT_STATE: Final = PROJECT / ".listenlake"


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


def count_dates(first: datetime | None, last: datetime | None, dates: int | None) -> int:
    """Return the number of listen dates that the options ask for.

    Raises:
        ProducerError: They contradict each other.
    """
    if last is None:
        return dates or LISTEN_DATES
    if first is None or last < first or dates is not None:
        raise ProducerError(
            expected="--from and --to with the later date last, or --dates",
            found=f"--from {first:%Y-%m-%d}" if first else "--to without --from",
            do="Name both dates.",
        )
    return (last - first) // timedelta(days=1) + 1


def plan_synthetic(
    pace: Pace,
    *,
    events: int | None,
    speedup: float | None,
    first: datetime | None,
    dates: int,
    seed: int,
    rates: FaultRates,
    shape: ListenShape,
) -> tuple[SyntheticSettings, Pace]:
    """Return what to make and when it is due.

    Raises:
        ProducerError: The options ask for no schedule.
    """
    start = first.date() if first else first_date()
    times: dict[str, Any] = {"start": start, "dates": dates}
    if speedup is not None:
        if pace.duration_s is None:
            raise ProducerError(
                expected="a duration together with --speedup",
                found="none",
                do="Add --duration: the span is both multiplied.",
            )
        begin = datetime(start.year, start.month, start.day, tzinfo=UTC)
        times = build_window(begin, duration_s=pace.duration_s, speedup=speedup)._asdict()
    draft = SyntheticSettings(seed=seed, events=1, rates=rates, shape=shape, **times)
    pace = dataclasses.replace(pace, begin=draft.begin, span_s=(draft.end - draft.begin).total_seconds())
    if events is None and pace.duration_s is None and pace.profile != "soak":
        events = DEFAULT_EVENTS
    return dataclasses.replace(draft, events=pace.schedule(events).total), pace
