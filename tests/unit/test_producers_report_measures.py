"""What lanes measure, against sorted values and plain sums."""

from __future__ import annotations

import json
import math
import pickle
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.report.histogram import LatencyHistogram, bucket_of, upper_edges
from producers.report.intervals import MOST_INTERVALS
from producers.report.measures import Measures, merge, merge_snapshots


def note(
    measures: Measures,
    second: float,
    delays: list[float],
    *,
    seconds: float = 0.01,
    refused: dict[str, int] | None = None,
    shard: str = "shardId-000000000000",
    size: int = 250,
    unanswered: bool = False,
) -> None:
    measures.note_call(
        second,
        seconds=seconds,
        acknowledged=len(delays),
        refused=refused or {},
        bytes_acknowledged=size * len(delays),
        records=len(delays),
        record_delay=delays,
        shards={shard: len(delays)} if delays else {},
        unanswered=unanswered,
    )


@settings(deadline=None)
@given(
    st.lists(st.floats(min_value=1e-4, max_value=110.0), min_size=1, max_size=300),
    st.sampled_from([0.0, 0.01, 0.5, 0.95, 0.99, 1.0]),
)
def test_a_quantile_is_within_five_percent_of_the_nearest_rank(values: list[float], quantile: float) -> None:
    histogram = LatencyHistogram()
    histogram.record_all(values)
    exact = sorted(values)[max(math.ceil(quantile * len(values)), 1) - 1]
    assert histogram.quantile(quantile) == pytest.approx(exact, rel=0.05)
    assert histogram.maximum == max(values)


@settings(deadline=None)
@given(st.lists(st.floats(min_value=0.0, max_value=500.0), min_size=1, max_size=50))
def test_one_by_one_counts_as_all_at_once(values: list[float]) -> None:
    one, all_at_once = LatencyHistogram(), LatencyHistogram()
    for value in values:
        one.record(value)
    all_at_once.record_all(values)
    # A value on an edge may be counted on either side of it: the logarithms differ in their last digit.
    assert np.abs(np.cumsum(one.counts - all_at_once.counts)).max() <= len(values)
    assert one.count == all_at_once.count == len(values)
    assert one.maximum == all_at_once.maximum


def test_values_outside_the_range_are_counted_and_the_maximum_stays_exact() -> None:
    histogram = LatencyHistogram()
    histogram.record_all([0.0, 1e-6, 300.0])
    assert (histogram.counts[0], histogram.counts[-1]) == (2, 1)
    assert histogram.quantile(1.0) == 300.0
    assert math.isnan(LatencyHistogram().quantile(0.5))


def test_merging_gives_what_recording_together_gives() -> None:
    values = np.random.default_rng(1).lognormal(-4, 1.5, 4_000)
    whole, parts = LatencyHistogram(), [LatencyHistogram() for _ in range(4)]
    whole.record_all(values)
    for part, share in zip(parts, np.split(values, 4), strict=True):
        part.record_all(share)
    merged = parts[0].merge(parts[1:])
    assert (merged.counts == whole.counts).all()
    assert merged.maximum == whole.maximum
    assert LatencyHistogram.from_json(json.loads(json.dumps(merged.to_json()))).quantile(0.95) == whole.quantile(0.95)


def test_a_histogram_of_other_buckets_is_refused() -> None:
    written = LatencyHistogram().to_json() | {"buckets": 10}
    with pytest.raises(ValueError, match="expected 288 buckets"):
        LatencyHistogram.from_json(written)


def test_bars_hold_every_value_under_its_edge() -> None:
    histogram = LatencyHistogram()
    histogram.record_all([0.001] * 3 + [0.1])
    bars = histogram.bars()
    assert sum(count for _, count in bars) == 4
    assert bars[0][0] / 1.158 < 1.0 <= bars[0][0]
    assert bars[-1][0] / 1.158 < 100.0 <= bars[-1][0]
    assert upper_edges()[bucket_of(np.array([0.5]))[0]] >= 0.5


def test_totals_and_seconds_are_the_sums_of_the_calls() -> None:
    measures = Measures()
    note(measures, 0.4, [0.010, 0.020], seconds=0.004)
    note(measures, 1.2, [0.030], refused={"ProvisionedThroughputExceededException": 2, "InternalFailure": 1})
    note(measures, 1.9, [], refused={"no answer": 3}, unanswered=True, seconds=2.0)
    measures.note_given_up({"no answer": 1})
    totals = measures.totals
    assert (totals.acknowledged, totals.records, totals.bytes, totals.calls, totals.unanswered) == (3, 3, 750, 3, 1)
    assert totals.throttled == 2
    assert totals.retried == {"InternalFailure": 1, "ProvisionedThroughputExceededException": 2, "no answer": 2}
    assert totals.shards == {"shardId-000000000000": 3}
    assert measures.intervals.counts[:3].tolist() == [[2, 0, 0, 1], [1, 6, 2, 2], [0, 0, 0, 0]]
    assert measures.call.maximum == 2.0


def test_record_sizes_bill_each_record_by_its_own_size() -> None:
    measures = Measures()
    measures.note_call(
        0.0,
        seconds=0.01,
        acknowledged=205,
        refused={},
        bytes_acknowledged=51_000,
        records=4,
        record_delay=[],
        shards={"a": 104, "b": 101},
        unanswered=False,
        record_sizes={"a": [1024, 1025, 23_351], "b": [25_600]},
    )
    assert measures.totals.billed_kb == 1 + 2 + 23 + 25
    assert measures.totals.payload_units == 4
    assert measures.totals.shard_records == {"a": 3, "b": 1}
    assert measures.totals.shard_bytes == {"a": 25_400, "b": 25_600}
    without = Measures()
    note(without, 0.0, [0.1, 0.1], size=1_500)
    assert (without.totals.billed_kb, without.totals.payload_units) == (4, 2)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.floats(0, 8_000), st.integers(0, 3)), max_size=60))
def test_lanes_merge_to_what_one_lane_would_have_measured(calls: list[tuple[float, int]]) -> None:
    whole, lanes = Measures(), [Measures() for _ in range(3)]
    for place, (second, events) in enumerate(sorted(calls)):
        delays = [0.001 * (place + 1)] * events
        note(whole, second, delays, refused={"InternalFailure": 1})
        note(lanes[place % 3], second, delays, refused={"InternalFailure": 1})
    merged = merge(pickle.loads(pickle.dumps(lane)) for lane in lanes)  # noqa: S301 - our own bytes
    assert merged.totals == whole.totals
    assert (merged.delay.counts == whole.delay.counts).all()
    assert merged.intervals.width == whole.intervals.width
    used = whole.intervals.used
    assert merged.intervals.used == used
    assert (merged.intervals.counts[:used] == whole.intervals.counts[:used]).all()
    assert (merged.intervals.delay[:used] == whole.intervals.delay[:used]).all()


def test_a_day_stays_small_and_loses_no_count() -> None:
    measures = Measures()
    for second in range(0, 86_400, 3):
        note(measures, float(second), [0.01], refused={"ThrottlingException": 2})
        measures.note_backlog(float(second), second)
    intervals = measures.intervals
    assert intervals.width == 32
    assert intervals.used <= len(intervals.counts) <= MOST_INTERVALS
    assert intervals.counts[:, 0].sum() == 28_800
    assert intervals.counts[:, 2].sum() == 57_600
    assert intervals.delay.sum() == 28_800
    assert intervals.backlog[0] == 30
    assert len(pickle.dumps(measures)) < 4_000_000


def test_levels_of_lanes_add_up_and_stand_until_noted_anew() -> None:
    one, other = Measures(), Measures()
    for second, events in ((0.5, 10), (0.7, 4), (3.0, 2)):
        one.note_backlog(second, events)
    for second, events in ((0.0, 1), (1.0, 100), (2.0, 200)):
        other.note_backlog(second, events)
    one.note_memory(1.0, 80.0)
    backlog = merge([one, other]).intervals.backlog
    assert backlog.tolist() == [11, 110, 210, 2]
    memory = merge([one, other]).intervals.memory
    assert memory[1] == 80.0
    assert np.isnan(memory[[0, 2, 3]]).all()


def test_a_snapshot_tells_the_last_whole_seconds_and_stays_as_it_was() -> None:
    lanes = [Measures(), Measures()]
    for lane in lanes:
        for second in range(10):
            note(lane, second + 0.5, [0.001 * (second + 1)] * 10)
        lane.note_backlog(9.5, 7)
    taken = merge_snapshots(lane.snapshot(9.6) for lane in lanes)
    note(lanes[0], 9.7, [5.0])
    assert taken.totals.acknowledged == 200
    assert taken.totals.shards == Counter({"shardId-000000000000": 200})
    assert (taken.recent_acknowledged, taken.recent_s, taken.recent_rate) == (100, 5.0, 20.0)
    assert 0.0050 / 1.158 < taken.recent_delay_quantile(0.0) < taken.recent_delay_quantile(1.0) < 0.0090 * 1.158
    assert taken.delay.maximum == 0.010
    assert taken.backlog == 14
    assert taken.memory_mb is None
    assert len(pickle.dumps(taken)) < 20_000
    assert Measures().snapshot(0.3).recent_rate == 0.0
