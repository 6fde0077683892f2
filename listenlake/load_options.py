"""What the options of a load test mean: times, rates, dates, and how many events they come to."""

from __future__ import annotations

import dataclasses
import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import typer

from listenlake.demo import LISTEN_DATES, first_date
from producers.errors import ProducerError
from producers.faults import FaultRates
from producers.profiles import build_window
from producers.run import DEFAULT_EVENTS, Pace
from producers.shape import ListenShape
from producers.synthetic import SyntheticSettings

Record = TypeVar("Record")

SECONDS: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(s|m|h|)")
UNITS: Final = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3_600.0}


def parse_seconds(text: str | float) -> float:
    """Return a length of time such as `90`, `60s`, `10m` or `1h` in seconds; a default is a number already."""
    found = SECONDS.fullmatch(str(text).strip())
    if found is None:
        raise typer.BadParameter(f"expected a time such as 90, 60s, 10m or 1h; found {text!r}")
    return float(found[1]) * UNITS[found[2]]


def parse_fields(kind: type[Record], text: str | None) -> Record:
    """Return a settings record whose fields `name=number,name=5%` replace defaults.

    Raises:
        ProducerError: A name is no numeric field of the record, or its value no number.
    """
    known = {item.name for item in dataclasses.fields(kind) if item.type in ("float", "int")}  # type: ignore[arg-type]
    values: dict[str, float] = {}
    for part in (text or "").split(","):
        if not part.strip():
            continue
        name, _, value = part.strip().partition("=")
        number = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(%?)", value)
        if name not in known or number is None:
            raise ProducerError(
                expected=f"name=number or name=5%, with names among {', '.join(sorted(known))}",
                found=repr(part),
                do="Correct that part.",
            )
        values[name] = float(number[1]) / (100.0 if number[2] else 1.0)
    return kind(**values)


def count_dates(first: datetime | None, last: datetime | None, dates: int | None) -> int:
    """Return the number of listen dates that the options ask for.

    Raises:
        ProducerError: They contradict each other.
    """
    if last is None:
        return dates or LISTEN_DATES
    if first is None or last < first or dates is not None:
        raise ProducerError(
            expected="--from and --to with the later date last, or --dates",
            found=f"--from {first:%Y-%m-%d}" if first else "--to without --from",
            do="Name both dates.",
        )
    return (last - first) // timedelta(days=1) + 1


def plan_synthetic(
    pace: Pace,
    *,
    events: int | None,
    speedup: float | None,
    first: datetime | None,
    dates: int,
    seed: int,
    rates: FaultRates,
    shape: ListenShape,
) -> tuple[SyntheticSettings, Pace]:
    """Return what to make and when it is due.

    Raises:
        ProducerError: The options ask for no schedule.
    """
    start = first.date() if first else first_date()
    times: dict[str, Any] = {"start": start, "dates": dates}
    if speedup is not None:
        if pace.duration_s is None:
            raise ProducerError(
                expected="a duration together with --speedup",
                found="none",
                do="Add --duration: the span is both multiplied.",
            )
        begin = datetime(start.year, start.month, start.day, tzinfo=UTC)
        times = build_window(begin, duration_s=pace.duration_s, speedup=speedup)._asdict()
    draft = SyntheticSettings(seed=seed, events=1, rates=rates, shape=shape, **times)
    pace = dataclasses.replace(pace, begin=draft.begin, span_s=(draft.end - draft.begin).total_seconds())
    if events is None and pace.duration_s is None and pace.profile != "soak":
        events = DEFAULT_EVENTS
    return dataclasses.replace(draft, events=pace.schedule(events).total), pace
