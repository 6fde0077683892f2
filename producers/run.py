"""The way in: make or read listens, deliver them, compute the truth, write its manifest.

When delivery gives up, the manifest of what was acknowledged until then is written first, then the error goes on.
"""

from __future__ import annotations

import shutil
import threading
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from lakehouse import layout
from lakehouse.events import EARLIEST_LISTEN_TIME, MAX_CLOCK_SKEW
from producers.catalog import prepare_catalog
from producers.delivery import DeliveryReport, deliver
from producers.dimension_files import check_dimensions
from producers.errors import DeliveryError, ProducerError
from producers.faults import LONGEST_DELAY_S
from producers.manifest import TruthManifest, write_manifest
from producers.profiles import A_DAY_S, SOME_MONDAY, Schedule, build_schedule
from producers.replay import Replay
from producers.settings import Clock, DeliverySettings
from producers.shape import users_for
from producers.synthetic import SyntheticSettings, SyntheticStream
from producers.truth import build_sent, compute_truth
from producers.vocabulary import GENRES
from producers.worker import Progress, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from mypy_boto3_kinesis import KinesisClient

    from producers.records import Source

DEFAULT_EVENTS: Final = 30_000
FEWEST_USERS: Final = 1_200
LAST_LISTENS: Final = timedelta(days=1)
"""How long the listens of the last sessions may go on at most."""


@dataclass(frozen=True, kw_only=True)
class CatalogSettings:
    """Size and seed of the catalog that is made where there is none yet."""

    seed: int = 1
    users: int = FEWEST_USERS
    songs: int = 6_000
    genres: int = len(GENRES)


@dataclass(frozen=True, kw_only=True)
class Pace:
    """When events are due; see `producers.profiles.build_schedule`.

    Attributes:
        profile: Shape of the load over time.
        rate: Events a second; None sends as fast as possible.
        duration_s: Seconds from the first event to the end.
        begin: For `diurnal`, the listen time at the start.
        span_s: For `diurnal`, the seconds of listen time walked through.
    """

    profile: str = "constant"
    rate: float | None = None
    duration_s: float | None = None
    begin: datetime = SOME_MONDAY
    span_s: float = A_DAY_S

    def schedule(self, events: int | None) -> Schedule:
        """Return the schedule of so many events; of as many as the rate sends in the duration, if None.

        Raises:
            ProducerError: What was asked for is no schedule.
        """
        return build_schedule(
            self.profile,
            rate=self.rate,
            # Without a rate, the duration only ends the delivery.
            duration_s=None if self.rate is None else self.duration_s,
            events=events,
            begin=self.begin,
            span_s=self.span_s,
        )


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where events go, when and how.

    Attributes:
        connect: Makes a Kinesis client with no retries of its own; goes to worker processes if there are several.
        stream: Name of the stream.
        pace: When each event is due.
        delivery: How events are sent.
        seed: Seed of the pauses between retries.
        clock: Time.
        stop: Set it to end gracefully: what was taken up is finished, the manifest is written.
        on_progress: Hears twice a second how it stands.
    """

    connect: Callable[[], KinesisClient]
    stream: str
    pace: Pace = field(default_factory=Pace)
    delivery: DeliverySettings = field(default_factory=DeliverySettings)
    seed: int = 1
    clock: Clock = field(default_factory=Clock)
    stop: threading.Event = field(default_factory=threading.Event)
    on_progress: Callable[[Progress], None] = lambda _progress: None


@dataclass(frozen=True)
class Production:
    """What was sent: the truth about it, and how the sending went."""

    manifest: TruthManifest
    delivery: DeliveryReport


def size_catalog(settings: SyntheticSettings) -> CatalogSettings:
    """Return a catalog with as many users as it takes to hear so much."""
    days = (settings.end - settings.begin) / timedelta(days=1)
    return CatalogSettings(
        seed=settings.seed, users=max(FEWEST_USERS, users_for(settings.events, days, settings.shape))
    )


def produce(
    target: Target,
    settings: SyntheticSettings,
    *,
    catalog_directory: Path,
    manifest_directory: Path,
    catalog: CatalogSettings | None = None,
) -> Production:
    """Send synthetic listens of the catalog under `catalog_directory`, which is made where there is none.

    Raises:
        ProducerError: The settings can't be met, or the catalog can't be read.
        DeliveryError: Delivery gave up; the manifest holds what was acknowledged.
    """
    _check_dates(settings, target.clock.now())
    sizes = catalog or size_catalog(settings)
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
) -> Production:
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
    source_events: Source,
    *,
    source: str,
    settings: dict[str, Any],
    users_csv: Path,
    songs_csv: Path,
    manifest_directory: Path,
) -> Production:
    check_dimensions(users_csv, songs_csv)
    ledgers = manifest_directory / "ledger"
    task = Task(
        connect=target.connect,
        stream=target.stream,
        source=source_events,
        schedule=target.pace.schedule(len(source_events)),
        settings=target.delivery,
        ledger_directory=ledgers,
        seed=target.seed,
        clock=target.clock,
    )

    def account(report: DeliveryReport) -> Production:
        manifest = TruthManifest(
            source=source,
            stream=target.stream,
            settings=settings
            | {
                "pace": asdict(target.pace) | {"begin": target.pace.begin.isoformat()},
                "delivery": asdict(target.delivery),
            },
            delivery=report.summary(),
            truth=compute_truth(
                build_sent(source_events.facts(), report.ledger), users_csv=users_csv, songs_csv=songs_csv
            ),
        )
        write_manifest(manifest, manifest_directory)
        shutil.rmtree(ledgers)
        return Production(manifest, report)

    try:
        report = deliver(task, target.stop, target.on_progress)
    except DeliveryError as error:
        account(error.report)
        raise
    return account(report)


def _check_dates(settings: SyntheticSettings, now: float) -> None:
    latest = datetime.fromtimestamp(now, UTC) + MAX_CLOCK_SKEW - LAST_LISTENS
    if settings.end > latest or settings.begin - timedelta(seconds=LONGEST_DELAY_S) < EARLIEST_LISTEN_TIME:
        raise ProducerError(
            expected=f"sessions that begin between {EARLIEST_LISTEN_TIME:%Y-%m-%d} (and days for late ones) "
            f"and {latest:%Y-%m-%d %H:%M}",
            found=f"sessions from {settings.begin:%Y-%m-%d %H:%M} to {settings.end:%Y-%m-%d %H:%M}",
            do="Choose an earlier start or fewer dates: listens beyond would be rejected as impossible_time.",
        )
