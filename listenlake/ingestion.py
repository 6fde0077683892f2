"""How ingestion stands: its newest batch, the totals of the last 24 hours, and its distance to the stream's tip."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from lakehouse import layout
from lakehouse.batch_reports import BatchReport, BatchReports
from listenlake.connection import Connection

WINDOW: Final = timedelta(hours=24)


@dataclass(frozen=True, kw_only=True)
class Totals:
    """Sums over batches.

    Attributes:
        batches: How many there are.
        accepted: Listens, duplicates included.
        rejected: Rejects by reason.
        payload_bytes: Bytes of all events.
        lag_seconds: Largest age of a record when its batch was committed; None without a batch.
        seconds: Time spent by phase.
    """

    batches: int
    accepted: int
    rejected: dict[str, int]
    payload_bytes: int
    lag_seconds: float | None
    seconds: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class IngestionState:
    """What `listenlake status` says of ingestion.

    Attributes:
        latest: The newest batch that held any event.
        totals: Of the batches committed in `WINDOW`.
        millis_behind: How far the shard that was furthest behind was from its tip when it was last read
            (`MillisBehindLatest`); None before the first read, and with AWS Glue's own source.
        shards: Shards in that read.
    """

    latest: BatchReport | None
    totals: Totals
    millis_behind: int | None
    shards: int

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values; times are `datetime`."""
        return asdict(self)


def describe_ingestion(connection: Connection, *, now: datetime) -> IngestionState:
    """Return how ingestion stands, from the control table and the source's journal."""
    from streaming_jobs.kinesis_source.progress import latest_progress  # noqa: PLC0415 - it imports pyspark, slowly

    places = connection.places
    reports = BatchReports(connection.client("dynamodb"), places.control_table, layout.INGEST_JOB)
    progress = latest_progress(layout.uri(places.raw_bucket, layout.INGEST_PROGRESS), s3=connection.client("s3"))
    return IngestionState(
        latest=reports.latest(),
        totals=total(reports.since(now - WINDOW)),
        millis_behind=progress.millis_behind if progress else None,
        shards=len(progress.shards) if progress else 0,
    )


def total(batches: Iterable[BatchReport]) -> Totals:
    """Add batches up."""
    rejected: Counter[str] = Counter()
    found = list(batches)
    phases = dict.fromkeys(phase for one in found for phase in one.seconds)
    for one in found:
        rejected.update(one.rejected)
    return Totals(
        batches=len(found),
        accepted=sum(one.accepted for one in found),
        rejected=dict(rejected),
        payload_bytes=sum(one.payload_bytes or 0 for one in found),
        lag_seconds=max((one.lag_seconds for one in found if one.lag_seconds is not None), default=None),
        seconds={phase: round(sum(one.seconds.get(phase, 0.0) for one in found), 3) for phase in phases},
    )
