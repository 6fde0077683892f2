"""What the options of `produce` come to, before anything is sent."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
import typer
from typer.testing import CliRunner

from listenlake.cli import app
from listenlake.load_options import count_dates, parse_fields, parse_seconds, plan_synthetic
from producers.errors import ProducerError
from producers.faults import FaultRates
from producers.run import Pace
from producers.shape import ListenShape
from producers.synthetic import SyntheticSettings


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90.0), ("60s", 60.0), ("1.5m", 90.0), ("10m", 600.0), ("2h", 7_200.0), (60.0, 60.0)]
)
def test_times_are_read_with_their_unit(text: str | float, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-5", "10d", "1m30s", "ten"])
def test_other_times_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="expected a time such as 90, 60s, 10m or 1h"):
        parse_seconds(text)


def test_rates_are_numbers_or_percentages_and_the_rest_keeps_its_default() -> None:
    rates = parse_fields(FaultRates, "late=5%, malformed=0.001,duplicate=0")
    assert (rates.late, rates.malformed, rates.duplicate) == (0.05, 0.001, 0.0)
    assert rates.unknown_user == FaultRates().unknown_user
    assert parse_fields(FaultRates, None) == FaultRates()
    assert parse_fields(ListenShape, "zipf=1.1,session_mean=20").zipf == 1.1


@pytest.mark.parametrize("text", ["lat=5%", "late", "late=x", "late=-1", "weekday=3"])
def test_a_rate_that_is_none_is_refused_and_the_names_are_told(text: str) -> None:
    kind = ListenShape if text.startswith("weekday") else FaultRates
    with pytest.raises(ProducerError, match=r"expected name=number or name=5%, with names among .*, "):
        parse_fields(kind, text)


def test_dates_are_counted_from_either_end() -> None:
    first, last = datetime(2024, 6, 24, tzinfo=UTC), datetime(2024, 6, 30, tzinfo=UTC)
    assert count_dates(first, last, None) == 7
    assert count_dates(first, None, 2) == 2
    assert count_dates(None, None, None) == 3
    for wrong in ((None, last, None), (last, first, None), (first, last, 7)):
        with pytest.raises(ProducerError, match="Name both dates"):
            count_dates(*wrong)


def plan(pace: Pace, *, events: int | None = None, speedup: float | None = None) -> tuple[SyntheticSettings, Pace]:
    return plan_synthetic(
        pace,
        events=events,
        speedup=speedup,
        first=datetime(2024, 6, 24, tzinfo=UTC),
        dates=2,
        seed=3,
        rates=FaultRates(),
        shape=ListenShape(),
    )


@pytest.mark.parametrize(
    ("pace", "events", "made"),
    [
        (Pace(), 7, 7),
        (Pace(), None, 30_000),
        (Pace(rate=5.0), None, 30_000),
        (Pace(rate=500.0, duration_s=60.0), None, 30_000),
        (Pace(rate=500.0, duration_s=60.0), 100, 100),
        (Pace(rate=10.0, profile="soak"), None, 6_000),
        (Pace(rate=100.0, duration_s=100.0, profile="ramp"), None, 5_500),
        (Pace(rate=100.0, duration_s=100.0, profile="spike"), None, 14_000),
    ],
)
def test_the_number_of_events_follows_from_the_pace(pace: Pace, events: int | None, made: int) -> None:
    settings, paced = plan(pace, events=events)
    assert settings.events == made
    assert (settings.start, settings.dates, settings.seed) == (date(2024, 6, 24), 2, 3)
    assert (paced.begin, paced.span_s) == (datetime(2024, 6, 24, tzinfo=UTC), 2 * 86_400.0)


def test_a_duration_alone_says_nothing_about_the_number() -> None:
    with pytest.raises(ProducerError, match="Add a rate"):
        plan(Pace(duration_s=60.0))


def test_speedup_walks_through_listen_time() -> None:
    settings, paced = plan(Pace(rate=100.0, duration_s=60.0, profile="diurnal"), speedup=1_440.0)
    assert (settings.begin, settings.end) == (
        datetime(2024, 6, 24, tzinfo=UTC),
        datetime(2024, 6, 25, tzinfo=UTC),
    )
    assert paced.span_s == 86_400.0
    assert settings.events == 6_000
    with pytest.raises(ProducerError, match="Add --duration"):
        plan(Pace(rate=100.0), speedup=10.0)


@pytest.mark.parametrize(
    ("command", "options"), [("produce", ("--rate", "--chaos", "--aggregate", "--watch")), ("watch", ("--verify",))]
)
def test_the_commands_say_what_they_take(command: str, options: tuple[str, ...]) -> None:
    told = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "160", "TERM": "dumb"})
    assert told.exit_code == 0
    assert all(option in told.output for option in options)
    assert "Example: listenlake" in told.output
