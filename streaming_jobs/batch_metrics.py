"""What one micro-batch did, as CloudWatch's embedded metric format: a log line that CloudWatch also counts. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from lakehouse import layout

_UNITS: Final = {"accepted": "Count", "rejected": "Count", "payload_bytes": "Bytes", "lag_seconds": "Seconds"}


@dataclass(frozen=True, kw_only=True)
class BatchMetrics:
    """Figures of one micro-batch.

    Attributes:
        accepted: Listens, duplicates included.
        rejected: Rejects by reason.
        payload_bytes: Bytes of all events.
        lag_seconds: Age of the oldest record when the batch was committed.
        seconds: Time spent by phase.
    """

    accepted: int
    rejected: dict[str, int]
    payload_bytes: int
    lag_seconds: float
    seconds: dict[str, float]


def embedded(metrics: BatchMetrics, *, job: str, now: datetime) -> dict[str, Any]:
    """Return the fields of a log line in embedded metric format, with the job's name as its one dimension.

    Args:
        metrics: The figures.
        job: Name of the job.
        now: Time of the line.
    """
    values: dict[str, float] = {
        "accepted": metrics.accepted,
        "rejected": sum(metrics.rejected.values()),
        "payload_bytes": metrics.payload_bytes,
        "lag_seconds": round(metrics.lag_seconds, 3),
    }
    units = dict(_UNITS)
    for reason, rows in metrics.rejected.items():
        values[f"rejected_{reason}"], units[f"rejected_{reason}"] = rows, "Count"
    for phase, seconds in metrics.seconds.items():
        values[f"{phase}_seconds"], units[f"{phase}_seconds"] = seconds, "Seconds"
    declared = [{"Name": name, "Unit": units[name]} for name in values]
    directive = {"Namespace": layout.METRICS_NAMESPACE, "Dimensions": [["job"]], "Metrics": declared}
    aws = {"Timestamp": int(now.timestamp() * 1_000), "CloudWatchMetrics": [directive]}
    return {"_aws": aws, "job": job, **values}
