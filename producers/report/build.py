"""Builds the report of a load test out of what its lanes measured."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from producers.report.cost import Load, Prices, estimate_costs, load_prices
from producers.report.histogram import LatencyHistogram, read_quantile
from producers.report.intervals import ACKNOWLEDGED, CALLS, RETRIED, THROTTLED
from producers.report.load_report import LoadReport

if TYPE_CHECKING:
    from producers.report.intervals import Intervals
    from producers.report.measures import Measures
    from producers.report.totals import Totals

TARGET_POINTS: Final = 20
"""Points per second at which the asked rate is read."""
MOST_TARGET_POINTS: Final = 200_000


class Schedule(Protocol):
    """The rate that was asked for."""

    def rate_at(self, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return events per second at each moment, in seconds from the start."""
        ...


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What measuring does not tell.

    Attributes:
        started_at: ISO 8601 with zone.
        command: The command line that reproduces the run.
        settings: Every setting by name, as JSON values.
        stream: Name of the stream.
        endpoint: Address it was reached at.
        shards: Shard ids, those that got nothing included.
        workers: Processes.
        seed: Of everything.
        made: Events that the settings make.
        sent: Events taken up.
        seconds: From the start to the last answer.
        longest_lag_s: How far delivery was behind the asked rate at worst.
    """

    started_at: str
    command: str
    settings: dict[str, Any]
    stream: str
    endpoint: str
    shards: tuple[str, ...]
    workers: int
    seed: int
    made: int
    sent: int
    seconds: float
    longest_lag_s: float


def build_report(
    measures: Measures,
    facts: RunFacts,
    *,
    schedule: Schedule | None,
    prices: Prices | None = None,
    watch: dict[str, Any] | None = None,
    chaos: dict[str, Any] | None = None,
) -> LoadReport:
    """Return the report of merged measures; `schedule` is None when the run went as fast as possible."""
    prices = prices or load_prices()
    sums, seconds = measures.totals, facts.seconds
    load = Load(
        events=sums.acknowledged,
        records=sums.records,
        size=sums.bytes,
        billed_kb=sums.billed_kb,
        payload_units=sums.payload_units,
        seconds=seconds,
    )
    return LoadReport(
        run={
            name: list(value) if isinstance(value, tuple) else value
            for name, value in vars(facts).items()
            if name not in {"made", "sent", "seconds", "longest_lag_s"}
        },
        totals=_totals(sums, facts, schedule),
        latency_ms={
            "call": _quantiles(measures.call),
            "delay": _quantiles(measures.delay),
            "histogram": measures.delay.bars(),
            "call_histogram": measures.call.bars(),
        },
        interval_s=measures.intervals.width,
        series=_series(measures.intervals, seconds, schedule),
        shards=_shards(sums, facts.shards),
        cost=[asdict(line) for line in estimate_costs(load, prices)],
        prices=prices.to_json(),
        watch=watch,
        chaos=chaos,
    )


def _totals(sums: Totals, facts: RunFacts, schedule: Schedule | None) -> dict[str, Any]:
    rate = sums.acknowledged / facts.seconds if facts.seconds > 0 else 0.0
    # What was due by the tenth second and arrived by the twelfth was not delivered at the asked rate.
    due, until = _due(schedule, 0.0, facts.seconds) if schedule else (0.0, 0.0)
    target = due / until if until > 0 else None
    return {
        "made": facts.made,
        "sent": facts.sent,
        "acknowledged": sums.acknowledged,
        "failed": facts.sent - sums.acknowledged,
        "never_sent": facts.made - facts.sent,
        "retried": sums.retried,
        "throttled": sums.throttled,
        "unanswered": sums.unanswered,
        "calls": sums.calls,
        "records": sums.records,
        "bytes": sums.bytes,
        "seconds": round(facts.seconds, 3),
        "events_per_second": round(rate, 1),
        "target_rate": round(target, 1) if target is not None else None,
        "rate_error_percent": round((rate / target - 1) * 100, 3) if target else None,
        "longest_lag_s": round(facts.longest_lag_s, 3),
    }


def _due(schedule: Schedule, begin: float, end: float) -> tuple[float, float]:
    """Return how many events were due between two moments, and after how many seconds the last of them was."""
    points = max(TARGET_POINTS, min(round((end - begin) * TARGET_POINTS), MOST_TARGET_POINTS))
    step = (end - begin) / points
    moments: NDArray[np.float64] = begin + step * (np.arange(points, dtype=np.float64) + 0.5)
    rates = schedule.rate_at(moments)
    busy = np.flatnonzero(rates > 0)
    return float(np.sum(rates)) * step, (int(busy[-1]) + 1) * step if len(busy) else 0.0


def _series(intervals: Intervals, seconds: float, schedule: Schedule | None) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    has_delay = bool(intervals.delay.any())
    for row in range(intervals.used):
        counts, begin = intervals.counts[row], float(row * intervals.width)
        end = min(begin + intervals.width, seconds)
        latencies = intervals.delay[row] if has_delay else intervals.call[row]
        entries.append(
            {
                "second": row * intervals.width,
                "target": round(_due(schedule, begin, end)[0], 2) if schedule and end > begin else None,
                "acknowledged": int(counts[ACKNOWLEDGED]),
                "retried": int(counts[RETRIED]),
                "throttled": int(counts[THROTTLED]),
                "calls": int(counts[CALLS]),
                "p50_ms": _milliseconds(read_quantile(latencies, 0.5)),
                "p95_ms": _milliseconds(read_quantile(latencies, 0.95)),
                "p99_ms": _milliseconds(read_quantile(latencies, 0.99)),
                "call_p99_ms": _milliseconds(read_quantile(intervals.call[row], 0.99)),
                "backlog": _known(intervals.backlog[row]),
                "memory_mb": _known(intervals.memory[row]),
            }
        )
    return entries


def _shards(sums: Totals, shard_ids: tuple[str, ...]) -> list[dict[str, Any]]:
    return [
        {
            "shard_id": shard_id,
            "acknowledged": sums.shards[shard_id],
            # Null rather than 0 where lanes did not tell the sizes of their records.
            "records": sums.shard_records[shard_id] if sums.shard_records else None,
            "bytes": sums.shard_bytes[shard_id] if sums.shard_records else None,
            "share": round(sums.shards[shard_id] / sums.acknowledged, 6) if sums.acknowledged else 0.0,
        }
        for shard_id in sorted({*shard_ids, *sums.shards})
    ]


def _quantiles(histogram: LatencyHistogram) -> dict[str, float | None]:
    quantiles = {f"p{int(q * 100)}": _milliseconds(histogram.quantile(q)) for q in (0.5, 0.95, 0.99)}
    return quantiles | {"max": _milliseconds(histogram.maximum) if histogram.count else None}


def _milliseconds(seconds: float) -> float | None:
    return None if math.isnan(seconds) else round(seconds * 1000, 3)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), 1)
