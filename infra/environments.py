"""The kinds of placement: what each promises about its data, and how large it may grow."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Size of a Glue job. One worker is the driver.

    Attributes:
        kind: Glue's worker type; G.1X has 4 cores and 16 GB.
        most: Workers that autoscaling may reach.
    """

    kind: str = "G.1X"
    most: int = 2


@dataclass(frozen=True, kw_only=True)
class Environment:
    """One kind of placement.

    Attributes:
        keeps_data: Data outlives its stack, and tables and the stack refuse to be deleted.
        versions_objects: Buckets keep what was overwritten or deleted for `NONCURRENT_DAYS`.
        recovers_tables: Tables can be restored to any second of the last 35 days.
        shards: Shards of the stream; None lets Kinesis scale it (on-demand).
        stream_hours: Hours for which the stream keeps its records: the longest outage of ingestion that loses nothing.
        ingest: Workers of the streaming job.
        batch: Workers of each batch job.
        log_days: Days for which logs and access logs are kept.
        watched: Whether topic, alarms and dashboard are deployed.
    """

    keeps_data: bool = False
    versions_objects: bool = False
    recovers_tables: bool = False
    shards: int | None = 2
    stream_hours: int = 48
    ingest: Workers = Workers()
    batch: Workers = Workers()
    log_days: int = 30
    watched: bool = True


ENVIRONMENTS: Final[Mapping[str, Environment]] = MappingProxyType(
    {
        # The emulator refuses alarms on computed figures.
        "laptop": Environment(watched=False),
        "dev": Environment(),
        "prod": Environment(
            keeps_data=True,
            versions_objects=True,
            recovers_tables=True,
            shards=None,
            stream_hours=168,
            ingest=Workers(most=4),
            batch=Workers(most=10),
            log_days=365,
        ),
    }
)
NONCURRENT_DAYS: Final = 30
SWEEP_MINUTES: Final = 15
"""How often the trigger looks for what waits, in case that every hint of it was lost."""
RECOMPUTE_MINUTES: Final = 60
TRIGGER_MEMORY_MB: Final = 256
