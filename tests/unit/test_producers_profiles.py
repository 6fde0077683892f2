"""Schedules against their definition: counts by numerical integration, and the moment of each record."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.errors import ProducerError
from producers.profiles import PROFILES, build_schedule, build_window
from producers.shape import WEEKDAY, WEEKEND, ListenShape


def test_the_constant_profile_is_exact() -> None:
    schedule = build_schedule("constant", rate=3_333.3, duration_s=60.0, events=None)
    positions = np.arange(schedule.total)
    assert schedule.total == 199_998
    assert schedule.due(positions).tolist() == [n / 3_333.3 for n in range(199_998)]
    assert schedule.rate_at(np.array([-1.0, 0.0, 59.9, 61.0])).tolist() == [0.0, 3_333.3, 3_333.3, 0.0]


def test_without_a_rate_everything_is_due_at_once() -> None:
    schedule = build_schedule("constant", rate=None, duration_s=None, events=7)
    assert schedule.total == 7
    assert schedule.due(np.arange(7)).tolist() == [0.0] * 7
    assert np.isnan(schedule.rate_at(np.array([0.0, 5.0]))).all()


@pytest.mark.parametrize(
    ("profile", "total", "rates"),
    [
        ("constant", 10_000, {0: 100, 50: 100, 99: 100}),
        ("soak", 10_000, {0: 100, 50: 100, 99: 100}),
        ("ramp", 5_500, {0: 10, 50: 55, 100: 100}),
        ("spike", 14_000, {0: 100, 44.9: 100, 45.1: 500, 54.9: 500, 55.1: 100}),
    ],
)
def test_profiles_have_the_rates_that_they_say(profile: str, total: int, rates: dict[float, float]) -> None:
    schedule = build_schedule(profile, rate=100.0, duration_s=100.0, events=None)
    assert schedule.total == total
    assert schedule.rate_at(np.array(list(rates))).tolist() == pytest.approx(list(rates.values()))
    by_events = build_schedule(profile, rate=100.0, duration_s=None, events=total)
    assert by_events.total == total
    assert by_events.duration_s == pytest.approx(100.0)


def test_the_diurnal_profile_walks_through_the_days_of_the_listens() -> None:
    friday = datetime(2024, 6, 28, tzinfo=UTC)
    schedule = build_schedule("diurnal", rate=50.0, duration_s=480.0, events=None, begin=friday, span_s=2 * 86_400)
    assert schedule.total == 24_000
    rates = schedule.rate_at(np.arange(48) * 10.0 + 5.0)
    asked = np.array([*WEEKDAY, *WEEKEND])
    assert rates.tolist() == pytest.approx((50.0 * asked / asked.mean()).tolist())
    noon = build_schedule("diurnal", rate=9.0, duration_s=60.0, events=None, begin=friday.replace(hour=12), span_s=60.0)
    assert noon.rate_at(np.array([1.0, 59.0])).tolist() == [9.0, 9.0]
    flat = ListenShape(weekday=(1.0,) * 24)
    even = build_schedule("diurnal", rate=9.0, duration_s=60.0, events=None, begin=friday, shape=flat)
    assert even.due(np.array([270])).tolist() == pytest.approx([30.0])


@settings(max_examples=60, deadline=None)
@given(
    profile=st.sampled_from(PROFILES),
    rate=st.floats(0.5, 50_000.0),
    duration_s=st.floats(1.0, 5_000.0),
    events=st.none() | st.integers(1, 10_000),
)
def test_records_are_due_when_the_rates_before_add_up_to_their_position(
    profile: str, rate: float, duration_s: float, events: int | None
) -> None:
    schedule = build_schedule(profile, rate=rate, duration_s=duration_s, events=events)
    positions = np.unique(np.linspace(0, schedule.total - 1, 500).astype(np.int64))
    due = schedule.due(positions)
    assert due[0] == 0.0
    assert (np.diff(due) > 0).all()
    assert due[-1] <= schedule.duration_s + 1.0 / rate * 10
    # The trapezoid of 200,000 steps knows nothing of stretches; jumps cost it a step each.
    moments = np.linspace(0.0, schedule.duration_s, 200_001)
    steps = (schedule.rate_at(moments)[1:] + schedule.rate_at(moments)[:-1]) / 2 * np.diff(moments)
    released = np.interp(due, moments, np.concatenate([[0.0], np.cumsum(steps)]))
    assert np.abs(released - positions).max() < 0.6 + 5 * steps.max() + schedule.total * 1e-4


def test_a_number_of_events_is_the_most_and_a_soak_takes_ten_minutes() -> None:
    capped = build_schedule("constant", rate=10.0, duration_s=60.0, events=100)
    assert (capped.total, capped.duration_s) == (100, 10.0)
    assert build_schedule("constant", rate=10.0, duration_s=60.0, events=1_000).total == 600
    soak = build_schedule("soak", rate=20_000.0, duration_s=None, events=None)
    assert (soak.total, soak.duration_s) == (12_000_000, 600.0)
    assert build_schedule("constant", rate=0.01, duration_s=1.0, events=None).total == 1


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"profile": "sawtooth", "rate": 1.0, "events": 1}, "a profile among constant, diurnal"),
        ({"profile": "ramp", "rate": 0.0, "events": 1}, "numbers above 0"),
        ({"profile": "ramp", "events": 5}, "a rate, or the constant profile"),
        ({"profile": "constant", "duration_s": 5.0}, "a rate, or the constant profile"),
        ({"profile": "constant", "rate": 5.0}, "a duration or a number of events"),
    ],
)
def test_what_is_no_schedule_is_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ProducerError, match=message):
        build_schedule(**{"rate": None, "duration_s": None, "events": None} | asked)


def test_a_window_is_the_listen_times_of_a_test() -> None:
    start = datetime(2024, 6, 25, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    assert build_window(start, duration_s=60.0, speedup=600.0) == (date(2024, 6, 24), 84_600.0, 36_000.0)
    assert build_window(datetime(2024, 6, 25, 0, 1), duration_s=60.0) == (date(2024, 6, 25), 60.0, 60.0)  # noqa: DTZ001
