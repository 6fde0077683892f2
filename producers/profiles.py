"""When each record of a load test is due: the load's profile over time, and which listen times it covers.

A schedule is open loop: what is due does not wait for what was sent before. Rates change linearly between moments, or
jump; the moment of each record follows exactly from the sum of the rates up to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from producers.errors import ProducerError
from producers.shape import DailyCycle, Floats, ListenShape

if TYPE_CHECKING:
    from collections.abc import Callable

PROFILES: Final = ("constant", "diurnal", "spike", "ramp", "soak")
SOAK_S: Final = 600.0
RAMP_FROM: Final = 0.1
SPIKE_TIMES: Final = 5.0
SPIKE_BETWEEN: Final = (0.45, 0.55)
A_DAY_S: Final = 86_400.0
SOME_MONDAY: Final = datetime(2024, 6, 24, tzinfo=UTC)

Moments = tuple[Floats, Floats, Floats]
"""Begin of each stretch as a share of the duration; factors of the rate at its begin and at its end."""


@dataclass(frozen=True)
class Schedule:
    """When records are due, in seconds from the start.

    Attributes:
        total: Number of records.
        duration_s: When the last one is due, or 0 where everything is due at once.
        begins: When each stretch of the schedule begins.
        rates: Records a second at the begin of each stretch; none where everything is due at once.
        slopes: Change of the rate in each stretch, records a second a second.
        done: Records due before each stretch.
    """

    total: int
    duration_s: float
    begins: Floats
    rates: Floats
    slopes: Floats
    done: Floats

    def due(self, positions: NDArray[Any]) -> Floats:
        """Return when the records at these positions are due; the first one at 0."""
        if not len(self.rates):
            return np.zeros(len(positions))
        stretch = np.searchsorted(self.done, positions, side="right") - 1
        left, rate = positions - self.done[stretch], self.rates[stretch]
        # The root of rate * t + slope * t^2 / 2 = left, in the form that is exact where the slope is 0.
        root = np.sqrt(np.maximum(rate * rate + 2.0 * self.slopes[stretch] * left, 0.0))
        due: Floats = self.begins[stretch] + 2.0 * left / (rate + root)
        return due

    def rate_at(self, seconds: NDArray[Any]) -> Floats:
        """Return the records a second at these moments: 0 outside, nan where everything is due at once."""
        if not len(self.rates):
            return np.full(len(seconds), np.nan)
        stretch = np.maximum(np.searchsorted(self.begins, seconds, side="right") - 1, 0)
        rates = self.rates[stretch] + self.slopes[stretch] * (seconds - self.begins[stretch])
        return np.where((seconds >= 0) & (seconds <= self.duration_s), rates, 0.0)


class Window(NamedTuple):
    """Which listen times a test covers: the fields of `SyntheticSettings` of the same names."""

    start: date
    start_s: float
    span_s: float


def build_window(start: datetime, *, duration_s: float, speedup: float = 1.0) -> Window:
    """Return the listen times of a test that runs `duration_s` seconds, `speedup` seconds of listens in each.

    Args:
        start: First listen time; UTC where it names no offset.
        duration_s: Seconds of the test.
        speedup: Seconds of listen time per second of the test.
    """
    utc = start.astimezone(UTC) if start.tzinfo else start.replace(tzinfo=UTC)
    since = utc - datetime.combine(utc.date(), time(), UTC)
    return Window(utc.date(), since.total_seconds(), duration_s * speedup)


def build_schedule(
    profile: str,
    *,
    rate: float | None,
    duration_s: float | None,
    events: int | None,
    begin: datetime = SOME_MONDAY,
    span_s: float = A_DAY_S,
    shape: ListenShape | None = None,
) -> Schedule:
    """Return the schedule of a load test.

    Args:
        profile: One of `PROFILES`. What `rate` means: `constant` and `soak` hold it; `ramp` reaches it at the end,
            evenly from a tenth of it; `spike` holds it but for a tenth of the time in the middle, with 5 times the
            rate; `diurnal` has it as the mean and follows the cycle of a day.
        rate: Records a second; without one everything is due at once, which only `constant` allows.
        duration_s: Seconds from the first record to the end; a `soak` takes 600 where neither it nor `events` is said.
        events: Number of records; together with a duration it is the most.
        begin: For `diurnal`, the listen time at the start.
        span_s: For `diurnal`, the seconds of listen time walked through; with a duration, the speedup times it.
        shape: For `diurnal`, the cycle of the days.

    Raises:
        ProducerError: What was asked for is no schedule.
    """
    if profile == "soak" and duration_s is None and events is None:
        duration_s = SOAK_S
    _check(profile, rate, duration_s, events)
    if rate is None:
        nothing = np.empty(0)
        return Schedule(events or 0, 0.0, nothing, nothing, nothing, nothing)
    shares, first, last = STRETCHES[profile](begin, span_s, shape or ListenShape())
    widths = np.diff(np.append(shares, 1.0))
    mean = float(((first + last) / 2 * widths).sum())
    if duration_s is None:
        duration_s = (events or 0) / (rate * mean)
    total = max(1, round(rate * mean * duration_s))
    rates, seconds = rate * first, widths * duration_s
    due = np.cumsum(rate * (first + last) / 2 * seconds)
    slopes = rate * (last - first) / seconds
    made = Schedule(total, duration_s, shares * duration_s, rates, slopes, np.append(0.0, due[:-1]))
    if events is None or events >= total:
        return made
    ends = float(made.due(np.array([events]))[0])
    return Schedule(events, ends, made.begins, made.rates, made.slopes, made.done)


def _hold(_begin: datetime, _span_s: float, _shape: ListenShape) -> Moments:
    return np.zeros(1), np.ones(1), np.ones(1)


def _ramp(_begin: datetime, _span_s: float, _shape: ListenShape) -> Moments:
    return np.zeros(1), np.array([RAMP_FROM]), np.ones(1)


def _spike(_begin: datetime, _span_s: float, _shape: ListenShape) -> Moments:
    factors = np.array([1.0, SPIKE_TIMES, 1.0])
    return np.array([0.0, *SPIKE_BETWEEN]), factors, factors


def _follow_the_day(begin: datetime, span_s: float, shape: ListenShape) -> Moments:
    first_ms = int(begin.timestamp() * 1_000)
    span_ms = max(1, int(span_s * 1_000))
    cycle = DailyCycle(shape, first_ms, first_ms + span_ms)
    shares = (cycle.begins - first_ms) / span_ms
    mean = float((cycle.rates * np.diff(np.append(shares, 1.0))).sum())
    return shares, cycle.rates / mean, cycle.rates / mean


STRETCHES: Final[dict[str, Callable[[datetime, float, ListenShape], Moments]]] = {
    "constant": _hold,
    "diurnal": _follow_the_day,
    "spike": _spike,
    "ramp": _ramp,
    "soak": _hold,
}


def _check(profile: str, rate: float | None, duration_s: float | None, events: int | None) -> None:
    asked = f"the profile {profile!r} with a rate of {rate}, a duration of {duration_s} and {events} events"
    numbers = [number for number in (rate, duration_s, events) if number is not None]
    if profile not in PROFILES or any(number <= 0 for number in numbers):
        raise ProducerError(
            expected=f"a profile among {', '.join(PROFILES)}, and numbers above 0",
            found=asked,
            do="Correct the profile.",
        )
    if rate is None and (profile != "constant" or events is None):
        raise ProducerError(
            expected="a rate, or the constant profile with a number of events", found=asked, do="Add a rate, or events."
        )
    if duration_s is None and events is None:
        raise ProducerError(expected="a duration or a number of events", found=asked, do="Say how long, or how many.")
