"""What one micro-batch did, as CloudWatch's embedded metric format: a log line that CloudWatch also counts. Pure."""

from __future__ import annotations

from typing import Any, Final

from lakehouse import layout
from lakehouse.batch_reports import BatchReport

_UNITS: Final = {
    "accepted": "Count",
    "rejected": "Count",
    "payload_bytes": "Bytes",
    "late_events": "Count",
    "future_events": "Count",
    "lag_seconds": "Seconds",
}


def embedded(report: BatchReport, *, job: str) -> dict[str, Any]:
    """Return the fields of a log line in embedded metric format, with the job's name as its one dimension.

    Args:
        report: The figures; what nobody could measure is left out.
        job: Name of the job.
    """
    measured = {
        "accepted": report.accepted,
        "rejected": sum(report.rejected.values()),
        "payload_bytes": report.payload_bytes,
        "late_events": report.late_events,
        "future_events": report.future_events,
        "lag_seconds": report.lag_seconds,
    }
    values: dict[str, float] = {name: value for name, value in measured.items() if value is not None}
    units = dict(_UNITS)
    for reason, rows in report.rejected.items():
        values[f"rejected_{reason}"], units[f"rejected_{reason}"] = rows, "Count"
    for phase, seconds in report.seconds.items():
        values[f"{phase}_seconds"], units[f"{phase}_seconds"] = seconds, "Seconds"
    declared = [{"Name": name, "Unit": units[name]} for name in values]
    directive = {"Namespace": layout.METRICS_NAMESPACE, "Dimensions": [["job"]], "Metrics": declared}
    aws = {"Timestamp": int(report.committed_at.timestamp() * 1_000), "CloudWatchMetrics": [directive]}
    return {"_aws": aws, "job": job, **values}
