"""One page that answers, from top to bottom: does it move, how late is it, what is refused, what is in the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from infra.alarms import Figures
from lakehouse import layout

HALF: Final = 12


def build_dashboard(
    scope: Construct, *, name: str, figures: Figures, alarms: Sequence[cloudwatch.IAlarm]
) -> cloudwatch.Dashboard:
    """Declare the dashboard."""
    trigger = figures.trigger
    batch_jobs = (layout.TRANSFORM_JOB, layout.KPI_JOB)
    jobs = (layout.INGEST_JOB, *batch_jobs)
    rows: list[list[cloudwatch.IWidget]] = [
        [cloudwatch.AlarmStatusWidget(title="Alarms", alarms=list(alarms), width=2 * HALF)],
        [
            _graph(
                "Records in, events out",
                figures.stream("IncomingRecords"),
                figures.ingested("accepted"),
                figures.ingested("rejected"),
            ),
            _graph("Lag of a micro-batch's oldest record (s)", figures.ingested("lag_seconds", "Maximum")),
        ],
        [
            _graph("Rejected (%)", figures.reject_percent()),
            _graph("Bytes ingested", figures.ingested("payload_bytes")),
        ],
        [
            _graph("Runs that succeeded", *(figures.runs(job, "succeed") for job in batch_jobs)),
            _graph("Runs that failed", *(figures.runs(job, "error") for job in jobs)),
        ],
        [
            _graph(
                "Hints",
                figures.queue(trigger.queue, "ApproximateNumberOfMessagesVisible"),
                figures.queue(trigger.dead_letters, "ApproximateNumberOfMessagesVisible"),
                figures.counted("parked"),
            ),
            _graph(
                "start_jobs",
                figures.function("Invocations"),
                figures.function("Errors"),
                figures.function("Throttles"),
            ),
        ],
        [
            _graph(
                "Stream throttled",
                figures.stream("WriteProvisionedThroughputExceeded"),
                figures.stream("ReadProvisionedThroughputExceeded"),
            ),
            _graph("Tables throttled", figures.table_throttles()),
        ],
    ]
    return cloudwatch.Dashboard(scope, "Dashboard", dashboard_name=name, widgets=rows)


def _graph(title: str, *metrics: cloudwatch.IMetric) -> cloudwatch.GraphWidget:
    return cloudwatch.GraphWidget(title=title, left=list(metrics), width=HALF)
