"""A load test: send at a rate, watch with a real consumer, make trouble if asked to, and report."""

from __future__ import annotations

import shlex
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from lakehouse import layout
from listenlake.connection import Connection, producer_connect
from listenlake.dimensions import put_dimensions
from listenlake.load_screen import LoadProgress, LoadScreen
from listenlake.pipeline import Pipeline
from listenlake.watch.session import Watch, WatchSettings
from listenlake.watch.target import find_target
from producers import run as producer
from producers.chaos import Chaos, ChaosProxy
from producers.delivery import DeliveryReport
from producers.dimension_files import check_dimensions
from producers.errors import DeliveryError
from producers.manifest import TruthManifest
from producers.profiles import Schedule
from producers.report.build import RunFacts, build_report
from producers.report.load_report import LoadReport
from producers.report.page import write_report
from producers.run import Pace, Production, Target
from producers.settings import DeliverySettings
from producers.synthetic import SyntheticSettings
from producers.worker import Progress

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class LoadTest:
    """What to run.

    Attributes:
        pace: When events are due.
        delivery: How they are sent.
        synthetic: What is made; None replays `files`.
        files: CSV files of listens.
        catalog: Folder of users/ and songs/.
        manifest: Folder for the truth manifest.
        report: Where the HTML report goes.
        seed: Of pauses and troubles.
        watchers: Daemons that watch; 0 for none.
        chaos: Trouble to make between client and endpoint.
        stop: Set it to end gracefully.
    """

    pace: Pace
    delivery: DeliverySettings
    synthetic: SyntheticSettings | None
    files: tuple[Path, ...] = ()
    catalog: Path
    manifest: Path
    report: Path
    seed: int = 1
    watchers: int = 0
    chaos: Chaos | None = None
    stop: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class LoadResult:
    """The truth about what was sent, and the report."""

    manifest: TruthManifest
    report: LoadReport

    @property
    def is_good(self) -> bool:
        """Tell whether everything that the test checks holds."""
        return all(holds for _, holds, _ in self.report.checks())


def run_load(connection: Connection, state: Path, test: LoadTest, console: Console, tell: Tell) -> LoadResult:
    """Run a load test and write its manifest and its report.

    Raises:
        DeliveryError: Delivery gave up; manifest and report tell of what was sent.
        ListenlakeError: Something could not be started or read.
    """
    _put_dimensions(connection, test)
    endpoint = str(connection.client("kinesis").meta.endpoint_url)
    with ExitStack() as held:
        proxy = held.enter_context(ChaosProxy(endpoint, test.chaos, seed=test.seed)) if test.chaos else None
        watch = held.enter_context(_watch(connection, state, test, tell)) if test.watchers else None
        if watch is not None:
            tell(f"{test.watchers} watching daemons are starting")
            watch.wait_until_reading()
            tell("every shard is read; sending")
        target = Target(
            connect=producer_connect(
                connection, endpoint=proxy.url if proxy else None, concurrency=test.delivery.concurrency
            ),
            stream=connection.places.stream,
            pace=test.pace,
            delivery=test.delivery,
            seed=test.seed,
            stop=test.stop,
        )

        def report(delivery: DeliveryReport, seen: dict[str, Any] | None) -> LoadReport:
            built = build_report(
                delivery.measures,
                _facts(connection, test, delivery, endpoint),
                schedule=delivery.schedule if test.pace.rate else None,
                watch=seen,
                chaos=asdict(proxy.counts) if proxy else None,
            )
            write_report(built, test.report)
            return built

        try:
            sent = _send(target, test, console, watch)
        except DeliveryError as error:
            report(error.report, None)
            tell(f"the report of what was sent is in {test.report}")
            raise
        seen = _verify(watch, sent.manifest, tell) if watch is not None else None
        return LoadResult(sent.manifest, report(sent.delivery, seen))


def _put_dimensions(connection: Connection, test: LoadTest) -> None:
    sizes = producer.size_catalog(test.synthetic) if test.synthetic else None
    if sizes is None:
        check_dimensions(test.catalog / layout.USERS_KEY, test.catalog / layout.SONGS_KEY)
    put_dimensions(Pipeline(connection), test.catalog, sizes=sizes)


def _watch(connection: Connection, state: Path, test: LoadTest, tell: Tell) -> Watch:
    target = find_target(connection, state)
    return Watch(test.manifest.parent / "watch", target, WatchSettings(workers=test.watchers), on_event=tell)


def _send(target: Target, test: LoadTest, console: Console, watch: Watch | None) -> Production:
    with LoadScreen(console, f"sending to {target.stream}") as screen:

        def show(progress: Progress, schedule: Schedule | None = None) -> None:
            rate = None if schedule is None else float(schedule.rate_at(np.array([progress.seconds]))[0])
            screen.update(
                LoadProgress(
                    elapsed_s=progress.seconds,
                    total_s=schedule.duration_s if schedule else None,
                    target_rate=rate,
                    snapshot=progress.snapshot,
                    in_flight=progress.in_flight,
                    watch={"seen": watch.progress().events} if watch else None,
                )
            )

        if test.synthetic is None:
            return producer.replay(
                replace(target, on_progress=show),
                test.files,
                users_csv=test.catalog / layout.USERS_KEY,
                songs_csv=test.catalog / layout.SONGS_KEY,
                manifest_directory=test.manifest,
            )
        schedule = test.pace.schedule(test.synthetic.events) if test.pace.rate else None
        return producer.produce(
            replace(target, on_progress=lambda progress: show(progress, schedule)),
            test.synthetic,
            catalog_directory=test.catalog,
            manifest_directory=test.manifest,
        )


def _verify(watch: Watch, manifest: TruthManifest, tell: Tell) -> dict[str, Any]:
    """Wait until everything acknowledged was seen, or nothing more comes, and return the consumer's account."""
    tell(f"{manifest.truth.counts.acknowledged:,} events acknowledged; waiting for the consumer to see them")
    watch.wait_for(manifest.truth.records)
    return watch.verify(manifest.truth.records).to_json()


def _facts(connection: Connection, test: LoadTest, delivery: DeliveryReport, endpoint: str) -> RunFacts:
    settings: dict[str, Any] = {"pace": asdict(test.pace), "delivery": asdict(test.delivery)}
    settings["synthetic"] = asdict(test.synthetic) if test.synthetic else None
    settings["files"] = [str(path) for path in test.files]
    return RunFacts(
        started_at=datetime.fromtimestamp(delivery.started_at, UTC).isoformat(timespec="seconds"),
        command=shlex.join(["listenlake", *sys.argv[1:]]),
        settings=_plain(settings),
        stream=connection.places.stream,
        endpoint=endpoint,
        shards=delivery.shard_ids,
        workers=test.delivery.workers,
        seed=test.seed,
        made=delivery.made,
        sent=delivery.sent,
        seconds=delivery.seconds,
        longest_lag_s=delivery.longest_lag_s,
    )


def _plain(value: Any) -> Any:
    """Return settings as JSON values."""
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value if value is None or isinstance(value, str | int | float) else str(value)
