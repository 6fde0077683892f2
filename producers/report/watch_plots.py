"""The charts of levels over time, and of what the consumer saw."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from producers.report.canvas import (
    BAD,
    FIRST,
    MUTED,
    SECOND,
    THIRD,
    Canvas,
    highest,
    label,
    legend,
    plain_numbers,
)
from producers.report.charts import Chart, Step, draw_line, finish, finish_chart, latency_axis, thin
from producers.report.load_report import milliseconds

if TYPE_CHECKING:
    from producers.report.load_report import LoadReport

MOST_MINUTES: Final = 120
MOST_TICKS: Final = 7


def draw_levels(report: LoadReport, steps: list[Step]) -> Chart | None:
    """Draw backlog and memory over time; None if nobody noted them."""
    levels = [
        (name, unit, colour)
        for name, unit, colour in (("backlog", "events waiting", FIRST), ("memory_mb", "memory, MB", THIRD))
        if any(entry[name] is not None for entry in report.series)
    ]
    if not levels:
        return None
    canvas = Canvas("levels", rows=len(levels), height_in=2.35 if len(levels) == 1 else 2.9)
    seconds = report.totals["seconds"]
    with canvas as all_axes:
        for axes, (name, unit, colour) in zip(all_axes, levels, strict=True):
            values = [step.highest(name) for step in steps]
            draw_line(axes, steps, values, colour, unit, fill=True)
            axes.set_ylim(0, (highest(values) or 1) * 1.25)
            plain_numbers(axes)
            finish(axes, unit, seconds)
            if axes is not all_axes[-1]:
                axes.set_xlabel("")
    told = [
        f"at most {highest(entry['backlog'] for entry in report.series):,.0f} events waited"
        if name == "backlog"
        else f"the processes took at most {highest(entry['memory_mb'] for entry in report.series):,.0f} MB"
        for name, _, _ in levels
    ]
    caption = "; ".join(told)
    return finish_chart(canvas, "levels", "Backlog and memory", f"{caption[0].upper()}{caption[1:]}.")


def draw_freshness(watch: dict[str, Any], seconds: float) -> Chart | None:
    """Draw how long after being put events were seen; None without a series."""
    series = watch.get("series") or []
    if not series:
        return None
    gaps = [later["second"] - one["second"] for one, later in pairwise(series)]
    width = min((gap for gap in gaps if gap > 0), default=1)
    end = max(seconds, series[-1]["second"] + width)
    steps = thin(series, width, end)
    canvas = Canvas("freshness")
    with canvas as (axes,):
        drawn: list[float | None] = []
        for name, colour in (("p50_ms", THIRD), ("p95_ms", SECOND)):
            values = [step.highest(name) for step in steps]
            draw_line(axes, steps, values, colour, name[:3])
            drawn += values
        latency_axis(axes, drawn)
        finish(axes, "put to seen", end)
    overall = watch.get("latency_ms") or {}
    return finish_chart(
        canvas,
        "freshness",
        "Freshness at the consumer",
        f"From being put to being seen: p50 {milliseconds(overall.get('p50'))}, "
        f"p95 {milliseconds(overall.get('p95'))}, p99 {milliseconds(overall.get('p99'))}, "
        f"at most {milliseconds(overall.get('max'))}.",
    )


def draw_completeness(watch: dict[str, Any]) -> Chart | None:
    """Draw the events acknowledged and seen per minute; None without minutes."""
    minutes = watch.get("minutes") or []
    if not minutes:
        return None
    unequal = [minute for minute in minutes if not minute["equal"]]
    # A long run shows its end, and every minute that is wrong stands in the caption.
    shown = minutes[-MOST_MINUTES:]
    canvas = Canvas("completeness")
    with canvas as (axes,):
        places = range(len(shown))
        axes.bar(
            places,
            [minute["acknowledged"] for minute in shown],
            width=0.82,
            color=MUTED,
            alpha=0.28,
            linewidth=0,
            label="acknowledged",
        )
        for equal, colour, name in ((True, THIRD, "seen, equal"), (False, BAD, "seen, not equal")):
            ours = [(place, minute["seen"]) for place, minute in enumerate(shown) if bool(minute["equal"]) is equal]
            if ours:
                axes.bar(
                    [place for place, _ in ours],
                    [seen for _, seen in ours],
                    width=0.5,
                    color=colour,
                    linewidth=0,
                    label=name,
                )
        every = -(-len(shown) // MOST_TICKS)
        axes.set_xticks(list(places)[::every], [_minute(minute["minute"]) for minute in shown][::every])
        axes.set_xlim(-0.7, max(len(shown), 3) - 0.3)
        axes.set_ylim(0, (highest(max(one["acknowledged"], one["seen"]) for one in shown) or 1) * 1.12)
        plain_numbers(axes)
        label(axes, "events")
        legend(axes)
    caption = (
        f"The consumer saw exactly what was acknowledged in each of {len(minutes)} minutes, by count and id sum."
        if not unequal
        else f"{len(unequal)} of {len(minutes)} minutes are not equal: "
        + ", ".join(
            f"{_minute(one['minute'])} ({one['seen']:,} of {one['acknowledged']:,} seen)" for one in unequal[:5]
        )
        + ("…" if len(unequal) > 5 else ".")
    )
    return finish_chart(canvas, "completeness", "Completeness per minute", caption)


def _minute(minute: object) -> str:
    told = str(minute)
    return told[11:16] if len(told) >= 16 and told[10] in "T " else told
