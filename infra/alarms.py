"""What must wake somebody: figures of progress first, since a pipeline that stands still raises no error.

Each alarm is one record; the runbook has a paragraph under its name. Figures of ours come from log lines in embedded
metric format: `accepted`, `rejected`, `lag_seconds` by job; `parked` by the trigger.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch

from lakehouse import layout
from lakehouse.settings import TriggerSettings

if TYPE_CHECKING:
    from aws_cdk import aws_sqs as sqs

    from infra.data_stack import DataStack
    from infra.trigger import Trigger

PERIOD: Final = Duration.minutes(5)
LAG_SECONDS: Final = 300
REJECT_PERCENT: Final = 5
OLDEST_HINT_SECONDS: Final = 900
# The clock recomputes KPIs every hour: three hours are two runs missed.
KPI_RUN_WITHIN: Final = Duration.hours(3)
# Every sweep, a quarter of an hour apart, counts what is parked.
PARKED_WITHIN: Final = Duration.minutes(30)


@dataclass(frozen=True, kw_only=True)
class AlarmShape:
    """One alarm: a figure, its bound, and for how many periods in a row it must be beyond.

    Attributes:
        name: Name in CloudWatch and in the runbook.
        meaning: What it says to whoever is woken.
        metric: The figure.
        threshold: The bound.
        periods: Periods in a row.
        below: Whether too little, and not too much, is the trouble.
        silence_is_fine: Whether no figure at all is a good sign.
    """

    name: str
    meaning: str
    metric: cloudwatch.IMetric
    threshold: float = 1
    periods: int = 1
    below: bool = False
    silence_is_fine: bool = True


@dataclass(frozen=True)
class Figures:
    """The figures of one placement, for alarms and dashboard alike."""

    data: DataStack
    trigger: Trigger

    def ingested(self, name: str, statistic: str = "Sum") -> cloudwatch.Metric:
        """Return a figure that the streaming job logs with each micro-batch."""
        return _metric(layout.METRICS_NAMESPACE, name, {"job": layout.INGEST_JOB}, statistic)

    def stream(self, name: str) -> cloudwatch.Metric:
        """Return a figure that Kinesis keeps of the stream, summed."""
        return _metric("AWS/Kinesis", name, {"StreamName": self.data.stream.stream_name})

    def queue(self, queue: sqs.IQueue, name: str) -> cloudwatch.Metric:
        """Return a figure that SQS keeps of a queue, at its highest."""
        return _metric("AWS/SQS", name, {"QueueName": queue.queue_name}, "Maximum")

    def function(self, name: str) -> cloudwatch.Metric:
        """Return a figure that Lambda keeps of `start_jobs`, summed."""
        return _metric("AWS/Lambda", name, {"FunctionName": self.trigger.function.function_name})

    def counted(self, name: str, period: Duration = PERIOD) -> cloudwatch.Metric:
        """Return a figure that `start_jobs` counts itself."""
        return _metric(layout.METRICS_NAMESPACE, name, {"service": TriggerSettings.program}, period=period)

    def runs(self, job: str, outcome: str, period: Duration = PERIOD) -> cloudwatch.Metric:
        """Return how many runs of a job ended in `outcome`, `succeed` or `error`."""
        dimensions = {"JobName": job, "JobRunId": "ALL", "Type": "count", "ObservabilityGroup": "error"}
        return _metric("Glue", f"glue.{outcome}.ALL", dimensions, period=period)

    def stalled(self) -> cloudwatch.IMetric:
        """Return 1 for a period in which records came and none was processed, 0 otherwise."""
        return cloudwatch.MathExpression(
            expression="IF(FILL(incoming, 0) > 0 AND FILL(accepted, 0) + FILL(rejected, 0) == 0, 1, 0)",
            using_metrics={
                "incoming": self.stream("IncomingRecords"),
                "accepted": self.ingested("accepted"),
                "rejected": self.ingested("rejected"),
            },
            label="records came and none was processed",
            period=PERIOD,
        )

    def reject_percent(self) -> cloudwatch.IMetric:
        """Return the percentage of events that ingestion rejected."""
        return cloudwatch.MathExpression(
            expression="IF(accepted + rejected > 0, 100 * rejected / (accepted + rejected), 0)",
            using_metrics={"accepted": self.ingested("accepted"), "rejected": self.ingested("rejected")},
            label="rejected %",
            period=PERIOD,
        )

    def table_throttles(self) -> cloudwatch.IMetric:
        """Return how many reads and writes DynamoDB turned away, over all tables."""
        tables = [self.data.control, self.data.daily_listens, self.data.top_genres]
        throttles = {
            f"{kind.lower()}{number}": _metric("AWS/DynamoDB", f"{kind}ThrottleEvents", {"TableName": table.table_name})
            for number, table in enumerate(tables)
            for kind in ("Read", "Write")
        }
        return cloudwatch.MathExpression(
            expression=" + ".join(f"FILL({name}, 0)" for name in throttles),
            using_metrics=throttles,
            label="requests throttled",
            period=PERIOD,
        )


def alarm_shapes(figures: Figures) -> list[AlarmShape]:
    """Return every alarm."""
    trigger = figures.trigger
    return [
        AlarmShape(
            name="ingestion-stalled",
            meaning="Records come into the stream and none has been processed for a quarter of an hour.",
            metric=figures.stalled(),
            periods=3,
        ),
        AlarmShape(
            name="ingestion-lags",
            meaning=f"The oldest record of a micro-batch waited for more than {LAG_SECONDS} seconds.",
            metric=figures.ingested("lag_seconds", "Maximum"),
            threshold=LAG_SECONDS,
            periods=3,
        ),
        AlarmShape(
            name="rejects-many",
            meaning=f"More than {REJECT_PERCENT} % of the events are rejected.",
            metric=figures.reject_percent(),
            threshold=REJECT_PERCENT,
            periods=3,
        ),
        AlarmShape(
            name="kpis-stale",
            meaning=f"No run of {layout.KPI_JOB} has succeeded for {KPI_RUN_WITHIN.to_hours():.0f} hours.",
            metric=figures.runs(layout.KPI_JOB, "succeed", KPI_RUN_WITHIN),
            below=True,
            silence_is_fine=False,
        ),
        AlarmShape(
            name="request-parked",
            meaning="A job failed so often that it waits for somebody to look.",
            metric=figures.counted("parked", PARKED_WITHIN),
        ),
        AlarmShape(
            name="dead-letters",
            meaning="A hint could not be handled, or not be delivered.",
            metric=figures.queue(trigger.dead_letters, "ApproximateNumberOfMessagesVisible"),
        ),
        AlarmShape(
            name="hints-wait",
            meaning=f"A hint has waited for more than {OLDEST_HINT_SECONDS} seconds.",
            metric=figures.queue(trigger.queue, "ApproximateAgeOfOldestMessage"),
            threshold=OLDEST_HINT_SECONDS,
        ),
        AlarmShape(
            name="trigger-fails",
            meaning="The function start_jobs ends in errors.",
            metric=figures.function("Errors"),
            periods=2,
        ),
        AlarmShape(
            name="trigger-throttled",
            meaning="Lambda turns the function start_jobs away.",
            metric=figures.function("Throttles"),
            periods=3,
        ),
        AlarmShape(
            name="producers-throttled",
            meaning="The stream has too few shards for what is sent.",
            metric=figures.stream("WriteProvisionedThroughputExceeded"),
            periods=3,
        ),
        AlarmShape(
            name="ingestion-throttled",
            meaning="More is read from the stream than its shards allow: is there another consumer?",
            metric=figures.stream("ReadProvisionedThroughputExceeded"),
            periods=3,
        ),
        AlarmShape(
            name="tables-throttled",
            meaning="DynamoDB turns requests away.",
            metric=figures.table_throttles(),
            periods=3,
        ),
    ]


def _metric(
    namespace: str, name: str, dimensions: Mapping[str, str], statistic: str = "Sum", period: Duration = PERIOD
) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace=namespace,
        metric_name=name,
        dimensions_map=dict(dimensions),
        statistic=statistic,
        period=period,
    )
