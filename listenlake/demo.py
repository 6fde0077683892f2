"""The whole pipeline on this machine: start a cloud, send listens, wait, and compare what is served with the truth.

Nothing here takes part in the pipeline: the streaming job ingests, the Lambda starts the jobs by itself, the jobs
serve. The demo sends, watches and compares.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from lakehouse import layout
from lakehouse.errors import ListenlakeError
from listenlake.comparison import Comparison, compare
from listenlake.connection import Connection, producer_connect
from listenlake.dimensions import put_dimensions
from listenlake.freshness import measure_freshness
from listenlake.pipeline import FAILED, Pipeline
from listenlake.served import ServedKpis, read_served
from listenlake.stages import count_dropped, describe_stages
from producers import run as producer
from producers.manifest import TruthManifest
from producers.packing import AGGREGATE_BYTES
from producers.settings import DeliverySettings
from producers.synthetic import SyntheticSettings
from producers.worker import Progress

LISTEN_DATES: Final = 3
POLL_SECONDS: Final = 1.0
TRIGGER_SECONDS: Final = 5.0
STREAMS: Final = "streams"

Tell = Callable[[str], None]


class NotQuietError(ListenlakeError):
    """The pipeline did not finish in time."""


@dataclass(frozen=True, kw_only=True)
class DemoSettings:
    """What the demo sends.

    Attributes:
        events: Synthetic records, faults included.
        seed: Seed of the catalog, the listens and the faults.
        rate: Events a second.
        aggregate: Whether many events share a record.
        data: Folder with a user's own users/users.csv, songs/songs.csv and streams/*.csv, instead of synthetic ones.
        timeout_seconds: How long to wait after the last record was sent.
    """

    events: int = 30_000
    seed: int = 1
    rate: float | None = 1_500.0
    aggregate: bool = False
    data: Path | None = None
    timeout_seconds: float = 600.0


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """What came of it."""

    comparison: Comparison
    manifest: TruthManifest
    served: ServedKpis
    stages: list[dict[str, Any]]
    freshness: dict[str, dict[str, float]]
    dropped_by_validation: int
    seconds: float

    @property
    def is_equal(self) -> bool:
        """Tell whether everything equals the truth."""
        return self.comparison.is_equal and self.dropped_by_validation == self._counts.dropped_by_validation

    @property
    def _counts(self) -> Any:
        return self.manifest.truth.counts

    def to_json(self) -> dict[str, Any]:
        """Return what `listenlake demo --json` prints."""
        return {
            "items_compared": self.comparison.items_compared,
            "items_different": self.comparison.items_different,
            "rejects_expected": self.comparison.rejects_expected,
            "rejects_found": self.comparison.rejects_found,
            "rejects_unexpected": self.comparison.rejects_unexpected,
            "rejects_by_reason": self._counts.rejected,
            "rejects_found_by_reason": self.comparison.found_by_reason,
            "dropped_by_validation_expected": self._counts.dropped_by_validation,
            "dropped_by_validation_found": self.dropped_by_validation,
            "equal": self.is_equal,
            "differences": list(self.comparison.differences),
            "stages": self.stages,
            "freshness": self.freshness,
            "seconds": self.seconds,
        }


def check_data(data: Path | None) -> None:
    """Look whether a user's folder has what the demo needs, before anything is started.

    Raises:
        ListenlakeError: Something is missing.
    """
    if data is None:
        return
    needed = [data / layout.USERS_KEY, data / layout.SONGS_KEY]
    missing = [str(path) for path in needed if not path.is_file()]
    if not sorted((data / STREAMS).glob("*.csv")):
        missing.append(str(data / STREAMS / "*.csv"))
    if missing:
        raise ListenlakeError(
            expected=f"users/users.csv, songs/songs.csv and streams/*.csv under {data}",
            found=f"no {', no '.join(missing)}",
            do="Put them there, or leave --data out for synthetic ones.",
        )


def run_demo(connection: Connection, settings: DemoSettings, folder: Path, tell: Tell) -> DemoResult:
    """Run the demo on a fresh cloud.

    Args:
        connection: The cloud.
        settings: What to send.
        folder: Where the catalog and the truth manifest go; emptied first.
        tell: Hears one line for each step.

    Raises:
        NotQuietError: The pipeline did not finish in time.
    """
    started = time.monotonic()
    pipeline = Pipeline(connection)
    pipeline.start(layout.INGEST_JOB, {"--trigger_seconds": str(TRIGGER_SECONDS)})
    tell("ingestion started")
    shutil.rmtree(folder, ignore_errors=True)
    manifest = _send(connection, pipeline, settings, folder, tell)
    counts = manifest.truth.counts
    tell(f"{counts.acknowledged:,} of {counts.sent:,} records acknowledged by Kinesis; the truth is in {folder}/truth")
    _wait_until_quiet(pipeline, expected=counts.acknowledged, timeout=settings.timeout_seconds, tell=tell)
    pipeline.stop(layout.INGEST_JOB)
    tell("quiet; comparing with the truth")
    served = read_served(connection.client("dynamodb"), connection.places)
    comparison = compare(
        served,
        genres=manifest.truth.genres,
        top_genres=manifest.truth.top_genres,
        rejects=(
            (one["reason"], one["shard_id"], one["sequence_number"], one["line"]) for one in manifest.truth.rejects
        ),
        found_rejects=pipeline.rejects(),
    )
    return DemoResult(
        comparison=comparison,
        manifest=manifest,
        served=served,
        stages=describe_stages(pipeline, manifest),
        freshness=measure_freshness(pipeline, manifest.truth.records),
        dropped_by_validation=count_dropped(pipeline.read_metrics()),
        seconds=round(time.monotonic() - started, 1),
    )


def _send(
    connection: Connection, pipeline: Pipeline, settings: DemoSettings, folder: Path, tell: Tell
) -> TruthManifest:
    catalog = settings.data or folder
    made = SyntheticSettings(seed=settings.seed, events=settings.events, start=first_date(), dates=LISTEN_DATES)
    put_dimensions(pipeline, catalog, sizes=producer.size_catalog(made) if settings.data is None else None)
    tell(f"users.csv and songs.csv are in {connection.places.raw_bucket}")
    target = producer.Target(
        connect=producer_connect(connection),
        stream=connection.places.stream,
        pace=producer.Pace(rate=settings.rate),
        delivery=DeliverySettings(aggregate_bytes=AGGREGATE_BYTES if settings.aggregate else 0),
        seed=settings.seed,
        on_progress=_every_third(settings.events, tell),
    )
    if settings.data is not None:
        return producer.replay(
            target,
            sorted((settings.data / STREAMS).glob("*.csv")),
            users_csv=catalog / layout.USERS_KEY,
            songs_csv=catalog / layout.SONGS_KEY,
            manifest_directory=folder / "truth",
        ).manifest
    return producer.produce(target, made, catalog_directory=folder, manifest_directory=folder / "truth").manifest


def first_date(today: date | None = None) -> date:
    """Return the first listen date of synthetic listens: the dates end with yesterday."""
    return (today or datetime.now(UTC).date()) - timedelta(days=LISTEN_DATES)


def _every_third(total: int, tell: Tell) -> Callable[[Progress], None]:
    told = [0]

    def show(progress: Progress) -> None:
        acknowledged = progress.snapshot.totals.acknowledged
        if acknowledged - told[0] >= max(1, total // 3):
            told[0] = acknowledged
            tell(f"{acknowledged:,} events acknowledged")

    return show


def _wait_until_quiet(pipeline: Pipeline, *, expected: int, timeout: float, tell: Tell) -> None:
    deadline = time.monotonic() + timeout
    last = ""
    failed_seen: set[str] = set()
    while not (now := pipeline.outstanding()).is_quiet(expected=expected):
        if now.describe(expected=expected) != last:
            last = now.describe(expected=expected)
            tell(last)
        _repair(pipeline, failed_seen, tell)
        if time.monotonic() > deadline:
            raise NotQuietError(
                expected=f"everything to be served within {timeout:.0f} s of the last record",
                found=last,
                do="See the logs of the job runs with `listenlake status`; --timeout waits longer.",
            )
        time.sleep(POLL_SECONDS)


def _repair(pipeline: Pipeline, failed_seen: set[str], tell: Tell) -> None:
    """Do at once for a failed run what the scheduled sweep would do within its quarter of an hour."""
    for job in (layout.TRANSFORM_JOB, layout.KPI_JOB):
        for run in pipeline.runs(job):
            if run["JobRunState"] in FAILED and run["Id"] not in failed_seen:
                failed_seen.add(run["Id"])
                tell(f"run {run['Id']} of {job} failed: {run.get('ErrorMessage', 'no message')}; sweeping")
                pipeline.sweep()
