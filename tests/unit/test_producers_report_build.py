"""The report built out of a run on a made-up clock, against figures worked out by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from producers.report.build import RunFacts, build_report
from producers.report.load_report import LoadReport
from producers.report.measures import Measures, merge

SHARDS = ("shardId-000000000000", "shardId-000000000001", "shardId-000000000002")


class Ramp:
    """From 0 to 200 events/s over ten seconds, then nothing."""

    def rate_at(self, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(seconds < 10, seconds * 20, 0.0)


def facts(*, made: int = 1_000, sent: int = 1_000, seconds: float = 10.0) -> RunFacts:
    return RunFacts(
        started_at="2026-01-01T00:00:00+00:00",
        command="listenlake produce --rate 100",
        settings={"rate": 100},
        stream="listens",
        endpoint="http://127.0.0.1:4566",
        shards=SHARDS,
        workers=1,
        seed=1,
        made=made,
        sent=sent,
        seconds=seconds,
        longest_lag_s=0.25,
    )


def run(*, throttled: int = 0) -> Measures:
    """Ten calls of 100 events in ten seconds: 75 to the first shard, 25 to the second; each takes 20 ms."""
    lanes = [Measures(), Measures()]
    for second in range(10):
        lanes[second % 2].note_call(
            second + 0.5,
            seconds=0.020,
            acknowledged=100,
            refused={"ProvisionedThroughputExceededException": throttled} if second == 4 else {},
            bytes_acknowledged=25_000,
            records=100,
            record_delay=np.full(100, 0.050),
            shards={SHARDS[0]: 75, SHARDS[1]: 25},
            unanswered=False,
            record_sizes={SHARDS[0]: [250] * 75, SHARDS[1]: [250] * 25},
        )
    return merge(lanes)


def test_totals_series_and_shards_of_a_run_that_holds() -> None:
    report = build_report(run(throttled=7), facts(), schedule=Ramp())
    totals = report.totals
    assert {name: totals[name] for name in ("made", "sent", "acknowledged", "failed", "never_sent")} == {
        "made": 1_000,
        "sent": 1_000,
        "acknowledged": 1_000,
        "failed": 0,
        "never_sent": 0,
    }
    assert totals["retried"] == {"ProvisionedThroughputExceededException": 7}
    assert (totals["throttled"], totals["calls"], totals["bytes"]) == (7, 10, 250_000)
    assert (totals["events_per_second"], totals["longest_lag_s"]) == (100.0, 0.25)
    assert totals["target_rate"] == pytest.approx(100.0, rel=1e-3)
    assert totals["rate_error_percent"] == pytest.approx(0.0, abs=0.01)
    assert [entry["acknowledged"] for entry in report.series] == [100] * 10
    assert [entry["target"] for entry in report.series] == pytest.approx([10 + 20 * second for second in range(10)])
    assert [entry["throttled"] for entry in report.series] == [0, 0, 0, 0, 7, 0, 0, 0, 0, 0]
    assert report.latency_ms["delay"]["p99"] == pytest.approx(50, rel=0.05)
    assert report.latency_ms["call"]["max"] == 20.0
    assert report.series[3]["p95_ms"] == pytest.approx(50, rel=0.16)
    assert report.series[3]["call_p99_ms"] == pytest.approx(20, rel=0.16)
    assert sum(count for _, count in report.latency_ms["histogram"]) == 1_000
    assert sum(count for _, count in report.latency_ms["call_histogram"]) == 10
    assert [(shard["acknowledged"], shard["bytes"], shard["share"]) for shard in report.shards] == [
        (750, 187_500, 0.75),
        (250, 62_500, 0.25),
        (0, 0, 0.0),
    ]
    assert all(holds for _, holds, _ in report.checks())
    assert report.headline() == (
        "load test passed · 1,000 of 1,000 events acknowledged · 100 events/s of 100 asked · p99 50 ms"
    )


def test_what_is_missing_fails_the_check_and_is_named() -> None:
    report = build_report(run(), facts(made=1_200, sent=1_050), schedule=None)
    assert (report.totals["failed"], report.totals["never_sent"]) == (50, 150)
    assert report.totals["target_rate"] is None
    assert report.checks() == [
        ("Everything acknowledged", False, "1,000 of 1,200 events acknowledged, 50 failed, 150 never sent")
    ]
    assert report.headline().startswith("load test failed (everything acknowledged)")


def test_a_rate_that_is_not_held_and_a_consumer_that_misses_events_fail() -> None:
    watch = {"complete": False, "verdict": "incomplete: 990 of 1,000 acknowledged events seen"}
    report = build_report(run(), facts(seconds=12.5), schedule=Ramp(), watch=watch)
    # Due at 100 events/s within ten seconds, there after 12.5: 80 events/s.
    assert report.totals["rate_error_percent"] == pytest.approx(-20.0, abs=0.5)
    assert [holds for _, holds, _ in report.checks()] == [True, False, False]
    doubled = {"complete": True, "good": False, "verdict": "complete: 3 duplicates more than injected"}
    assert build_report(run(), facts(), schedule=None, watch=doubled).checks()[-1] == (
        "Seen by the consumer as sent",
        False,
        "complete: 3 duplicates more than injected",
    )
    slow = build_report(run(), facts(seconds=9.0), schedule=Ramp())
    assert slow.totals["rate_error_percent"] == pytest.approx((1_000 / 9 / 90 - 1) * 100, abs=0.2)
    assert [holds for _, holds, _ in slow.checks()] == [True, False]


def test_it_survives_json_and_an_empty_run() -> None:
    report = build_report(run(), facts(), schedule=Ramp(), chaos={"throttle": 3})
    assert LoadReport(**json.loads(json.dumps(report.to_json()))) == report
    empty = build_report(Measures(), facts(made=10, sent=0, seconds=0.0), schedule=Ramp())
    assert empty.latency_ms["delay"] == {"p50": None, "p95": None, "p99": None, "max": None}
    assert (empty.series, empty.cost, empty.totals["events_per_second"]) == ([], [], 0.0)
    json.dumps(empty.to_json(), allow_nan=False)
