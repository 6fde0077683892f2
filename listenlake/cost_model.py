"""What a placement costs while nothing comes in, and per million events. Pure: prices and a workload in, lines out.

Capacity is that of `infra`: shards, workers, the Lambda's memory, the rates of its schedules. What only a deployed
system can tell is a field of `Workload`, so that a measured figure can take the place of an assumed one.

Two things decide the bill. The streaming job runs all day, whether anything comes or not. And a level-triggered
pipeline starts a run whenever a batch waits: under a steady load both batch jobs run back to back, at any rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from infra.environments import RECOMPUTE_MINUTES, SWEEP_MINUTES, TRIGGER_MEMORY_MB, Environment
from producers.report.cost import GB, MILLION, Load, Prices, estimate_costs

HOURS_A_MONTH: Final = 730.0
STREAMING_WORKERS: Final = 2
"""A driver and one executor: the least that Glue's autoscaling goes down to. A G.1X worker is one DPU."""
DPUS_A_WORKER: Final = {"G.1X": 1, "G.2X": 2, "G.4X": 4, "G.8X": 8}
SWEEPS_AN_HOUR: Final = 60 / SWEEP_MINUTES
RECOMPUTES_AN_HOUR: Final = 60 / RECOMPUTE_MINUTES
LAMBDA_GB: Final = TRIGGER_MEMORY_MB / 1024
PRICE_NAMES: Final = (
    "glue_dpu_hour",
    "lambda_million_requests",
    "lambda_arm_gb_second",
    "s3_thousand_writes",
    "s3_gb_month",
    "dynamodb_million_writes",
)


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What the model is told.

    Attributes:
        event_bytes: Bytes of an event; a load test's report says yours.
        aggregated: Many events go in one Kinesis record.
        run_seconds: Seconds of one run of a batch job, for which Glue bills at least 60.
        trigger_seconds: Seconds between micro-batches.
        writes_per_batch: Objects written for one micro-batch until it is archived, logs of Spark and Delta included.
        items_per_run: DynamoDB items of up to 1 KB that a run of the KPIs changes.
        stored_copies: Copies of an event's bytes on S3, as if none of them were compressed.
        lambda_seconds: Seconds of one invocation of the trigger.
    """

    event_bytes: int = 250
    aggregated: bool = False
    run_seconds: float = 120.0
    trigger_seconds: float = 10.0
    writes_per_batch: int = 12
    items_per_run: int = 120
    stored_copies: int = 3
    lambda_seconds: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Line:
    """One part of the bill.

    Attributes:
        part: What is paid for.
        idle_month: Price of a month in which nothing comes in.
        per_million: Price of a million events by rate (events a second); what stands ready meanwhile is in it.
    """

    part: str
    idle_month: float
    per_million: dict[float, float]


def estimate_bill(environment: Environment, workload: Workload, rates: list[float], prices: Prices) -> list[Line]:
    """Return the bill by part; the last line is the sum.

    Args:
        environment: The kind of placement.
        workload: What is known or assumed of the load.
        rates: Steady loads, in events a second.
        prices: The price list, with those of `PRICE_NAMES`.
    """
    model = _Model(environment, workload, prices)
    parts = [
        ("Kinesis", model.idle_stream(), model.stream),
        ("Glue: ingest_listens", model.ingest_hour() * HOURS_A_MONTH, lambda rate: model.ingest_hour() * _hours(rate)),
        ("Glue: batch_transform", 0.0, lambda rate: model.batch_hour() * _hours(rate)),
        ("Glue: kpi_transformation", model.idle_kpis(), lambda rate: model.batch_hour() * _hours(rate)),
        ("S3: requests", 0.0, model.writes),
        ("S3: a month of storage", 0.0, lambda _rate: model.storage()),
        ("DynamoDB: writes", 0.0, model.items),
        ("Lambda", model.invocations(SWEEPS_AN_HOUR + 2 * RECOMPUTES_AN_HOUR) * HOURS_A_MONTH, model.trigger),
    ]
    lines = [
        Line(part=name, idle_month=idle, per_million={rate: per_million(rate) for rate in rates})
        for name, idle, per_million in parts
    ]
    total = Line(
        part="together",
        idle_month=sum(line.idle_month for line in lines),
        per_million={rate: sum(line.per_million[rate] for line in lines) for rate in rates},
    )
    return [*lines, total]


def _hours(rate: float) -> float:
    """Return how long a million events take."""
    return MILLION / rate / 3600


@dataclass(frozen=True)
class _Model:
    environment: Environment
    workload: Workload
    prices: Prices

    def idle_stream(self) -> float:
        shards = self.environment.shards
        name = "on_demand_stream_hour" if shards is None else "provisioned_shard_hour"
        return self.prices.amount(name) * (shards or 1) * HOURS_A_MONTH

    def stream(self, rate: float) -> float:
        """Price Kinesis as the load report does; a stream of fixed size is never smaller than its shards."""
        plain = Load(
            events=MILLION,
            records=MILLION,
            size=MILLION * self.workload.event_bytes,
            billed_kb=MILLION * math.ceil(self.workload.event_bytes / 1024),
            payload_units=MILLION * math.ceil(self.workload.event_bytes / 25_600),
            seconds=MILLION / rate,
        )
        load = plain.aggregated() if self.workload.aggregated else plain
        mode = "on-demand" if self.environment.shards is None else "provisioned"
        (line,) = (
            line
            for line in estimate_costs(load, self.prices)
            if (line.mode, line.as_run, line.sizing) == (mode, True, "at this load")
        )
        missing = max((self.environment.shards or 0) - (line.shards or 0), 0)
        return line.total + missing * self.prices.amount("provisioned_shard_hour") * _hours(rate)

    def ingest_hour(self) -> float:
        return STREAMING_WORKERS * self._worker_hour(self.environment.ingest.kind)

    def batch_hour(self) -> float:
        return STREAMING_WORKERS * self._worker_hour(self.environment.batch.kind)

    def idle_kpis(self) -> float:
        billed = max(self.workload.run_seconds, 60.0) / 3600
        return RECOMPUTES_AN_HOUR * HOURS_A_MONTH * billed * self.batch_hour()

    def writes(self, rate: float) -> float:
        batches = _hours(rate) * 3600 / self.workload.trigger_seconds
        return batches * self.workload.writes_per_batch / 1000 * self.prices.amount("s3_thousand_writes")

    def storage(self) -> float:
        stored = MILLION * self.workload.event_bytes * self.workload.stored_copies / GB
        return stored * self.prices.amount("s3_gb_month")

    def items(self, rate: float) -> float:
        runs = _hours(rate) * 3600 / self.workload.run_seconds
        return runs * self.workload.items_per_run / MILLION * self.prices.amount("dynamodb_million_writes")

    def trigger(self, rate: float) -> float:
        """Price a message a micro-batch and one for each end of a run of the two jobs."""
        hourly = 3600 / self.workload.trigger_seconds + 2 * 3600 / self.workload.run_seconds
        return self.invocations(hourly) * _hours(rate)

    def invocations(self, number: float) -> float:
        seconds = number * self.workload.lambda_seconds * LAMBDA_GB
        requests = number / MILLION * self.prices.amount("lambda_million_requests")
        return requests + seconds * self.prices.amount("lambda_arm_gb_second")

    def _worker_hour(self, kind: str) -> float:
        return DPUS_A_WORKER[kind] * self.prices.amount("glue_dpu_hour")
