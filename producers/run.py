"""The way in: make or read listens, deliver them, compute the truth, write its manifest.

When delivery gives up, the manifest of what was acknowledged until then is written first, then the error goes on.
"""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lakehouse import layout
from lakehouse.events import EARLIEST_LISTEN_TIME, MAX_CLOCK_SKEW
from producers.catalog import prepare_catalog
from producers.delivery import Clock, Delivery, DeliverySettings
from producers.dimension_files import check_dimensions
from producers.errors import DeliveryError, ProducerError
from producers.faults import LONGEST_DELAY_S
from producers.manifest import TruthManifest, write_manifest
from producers.replay import Replay
from producers.synthetic import SyntheticSettings, SyntheticStream
from producers.truth import build_sent, compute_truth
from producers.vocabulary import GENRES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from mypy_boto3_kinesis import KinesisClient

    from producers.acknowledgements import DeliveryReport
    from producers.records import Source

DEFAULT_EVENTS: Final = 30_000


@dataclass(frozen=True, kw_only=True)
class CatalogSettings:
    """Size and seed of the catalog that is made where there is none yet."""

    seed: int = 1
    users: int = 1_200
    songs: int = 6_000
    genres: int = len(GENRES)


@dataclass(frozen=True)
class Target:
    """Where records go and how.

    Attributes:
        kinesis: A client; set its own retries low, they hide what the delivery reports.
        stream: Name of the stream.
        delivery: Rate, duration and retries.
        seed: Seed of the pauses between retries.
        clock: Time.
        stop: Set it to end gracefully: the batch begun is finished, the manifest is written.
        on_progress: Gets the numbers sent and acknowledged after each call.
    """

    kinesis: KinesisClient
    stream: str
    delivery: DeliverySettings = field(default_factory=DeliverySettings)
    seed: int = 1
    clock: Clock = field(default_factory=Clock)
    stop: threading.Event = field(default_factory=threading.Event)
    on_progress: Callable[[int, int], None] | None = None


def count_events(events: int | None, rate: float | None, duration_s: float | None) -> int:
    """Return how many records to make: as asked, or as many as the rate sends in the duration.

    Raises:
        ProducerError: A duration without a rate says nothing about the number.
    """
    if events is not None:
        return events
    if duration_s is None:
        return DEFAULT_EVENTS
    if rate is None:
        raise ProducerError(
            expected="a number of events, or a rate together with the duration",
            found=f"a duration of {duration_s} s alone",
            do="Add --rate, or --events as the upper bound.",
        )
    return max(1, int(np.ceil(rate * duration_s)))


def produce(
    target: Target,
    settings: SyntheticSettings,
    *,
    catalog_directory: Path,
    manifest_directory: Path,
    catalog: CatalogSettings | None = None,
) -> TruthManifest:
    """Send synthetic listens of the catalog under `catalog_directory`, which is made where there is none.

    Raises:
        ProducerError: The settings can't be met, or the catalog can't be read.
        DeliveryError: Delivery gave up; the manifest holds what was acknowledged.
    """
    _check_dates(settings, target.clock.now())
    sizes = catalog or CatalogSettings(seed=settings.seed)
    stream = SyntheticStream(prepare_catalog(catalog_directory, **asdict(sizes)), settings)
    described = asdict(settings) | {"start": settings.start.isoformat(), "catalog": asdict(sizes)}
    return _deliver(
        target,
        stream,
        source="synthetic",
        settings=described,
        users_csv=catalog_directory / layout.USERS_KEY,
        songs_csv=catalog_directory / layout.SONGS_KEY,
        manifest_directory=manifest_directory,
    )


def replay(
    target: Target, paths: Sequence[Path], *, users_csv: Path, songs_csv: Path, manifest_directory: Path
) -> TruthManifest:
    """Send the rows of existing CSV listens; the truth is over the given users and songs.

    Raises:
        ProducerError: A file can't be read; nothing was sent.
        DeliveryError: Delivery gave up; the manifest holds what was acknowledged.
    """
    return _deliver(
        target,
        Replay(paths),
        source="replay",
        settings={"files": [str(path) for path in paths]},
        users_csv=users_csv,
        songs_csv=songs_csv,
        manifest_directory=manifest_directory,
    )


def _deliver(
    target: Target,
    source_records: Source,
    *,
    source: str,
    settings: dict[str, Any],
    users_csv: Path,
    songs_csv: Path,
    manifest_directory: Path,
) -> TruthManifest:
    check_dimensions(users_csv, songs_csv)
    delivery = Delivery(
        target.kinesis,
        target.stream,
        target.delivery,
        rng=np.random.default_rng(target.seed),
        clock=target.clock,
        stop=target.stop,
        on_progress=target.on_progress,
    )

    def account(report: DeliveryReport) -> TruthManifest:
        sent = build_sent(source_records.facts(), report)
        manifest = TruthManifest(
            source=source,
            stream=target.stream,
            settings=settings | {"delivery": asdict(target.delivery)},
            delivery=report.summary() | {"made": len(source_records)},
            truth=compute_truth(sent, users_csv=users_csv, songs_csv=songs_csv),
        )
        write_manifest(manifest, manifest_directory)
        return manifest

    try:
        report = delivery.run(source_records.records())
    except DeliveryError as error:
        account(error.report)
        raise
    return account(report)


def _check_dates(settings: SyntheticSettings, now: float) -> None:
    first = datetime.combine(settings.start, datetime.min.time(), UTC)
    latest = datetime.fromtimestamp(now, UTC) + MAX_CLOCK_SKEW
    last = first + timedelta(days=settings.dates)
    if last > latest or first - timedelta(seconds=LONGEST_DELAY_S) < EARLIEST_LISTEN_TIME:
        raise ProducerError(
            expected=f"listen dates between {EARLIEST_LISTEN_TIME.date()} (and days for late ones) and {latest.date()}",
            found=f"{settings.dates} dates from {settings.start}",
            do="Choose an earlier start or fewer dates: listens beyond would be rejected as impossible_time.",
        )
