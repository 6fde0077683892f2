"""What the charts of a report share: points of a series, lines, axes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from producers.report.canvas import Canvas, label, legend, time_axis
from producers.report.load_report import milliseconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_POINTS: Final = 300
"""Points per line; a longer series is drawn with wider intervals."""
LEAST_LOG_RATIO: Final = 8.0
"""How far the latencies of a chart must be apart for a logarithmic axis."""
LEAST_COVERED: Final = 0.5
"""Part of the last interval that must have been run for its rate to be drawn."""


@dataclass(frozen=True)
class Chart:
    """A chart: heading, what it shows in words with figures, and the element itself."""

    name: str
    title: str
    caption: str
    svg: str


@dataclass(frozen=True)
class Step:
    """One point of the drawn series: an interval, its middle, its length, and the entries of it.

    `is_whole` is False for a last one that was cut short: a rate over it would be noise.
    """

    middle: float
    seconds: float
    entries: list[dict[str, Any]]
    is_whole: bool = True

    def rate(self, name: str) -> float | None:
        """Return events per second; None where nothing is known."""
        if not self.is_whole:
            return None
        known = [entry[name] for entry in self.entries if entry[name] is not None]
        return sum(known) / self.seconds if known else None

    def highest(self, name: str) -> float | None:
        """Return the highest known value."""
        return max((entry[name] for entry in self.entries if entry[name] is not None), default=None)


def thin(series: list[dict[str, Any]], interval_s: float, seconds: float) -> list[Step]:
    """Return at most `MOST_POINTS` steps; counts of joined entries add up, of latencies the highest stays."""
    joined = -(-len(series) // MOST_POINTS) or 1
    steps: list[Step] = []
    for place in range(0, len(series), joined):
        entries = series[place : place + joined]
        begin = float(entries[0]["second"])
        length = min(begin + interval_s * joined, seconds) - begin
        if length > 0:
            steps.append(Step(begin + length / 2, length, entries, length >= LEAST_COVERED * interval_s))
    if len(steps) == 1:
        return [replace(steps[0], is_whole=True)]
    return steps


def draw_line(
    axes: Axes,
    steps: list[Step],
    values: list[float | None],
    colour: str,
    name: str,
    *,
    fill: bool = False,
    dashed: bool = False,
) -> None:
    """Draw one line over the steps, broken where a value is not known."""
    drawn = [float("nan") if value is None else value for value in values]
    middles = [step.middle for step in steps]
    marker = "o" if len(steps) == 1 else None
    if dashed:
        axes.plot(middles, drawn, color=colour, label=name, linewidth=1.1, linestyle=(0, (4, 3)), marker=marker)
    else:
        axes.plot(middles, drawn, color=colour, label=name, marker=marker)
    if fill:
        axes.fill_between(middles, drawn, color=colour, alpha=0.14, linewidth=0)


def latency_axis(axes: Axes, values: list[float | None]) -> None:
    """Write the y axis in milliseconds: from 0 where the values are of one size, otherwise logarithmic."""
    known = [value for value in values if value]
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: milliseconds(value) if value else "0"))
    if not known or max(known) / min(known) < LEAST_LOG_RATIO:
        axes.set_ylim(0, max(known, default=1.0) * 1.15)
        axes.yaxis.set_major_locator(MaxNLocator(4, min_n_ticks=3))
        return
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: milliseconds(value)))
    lowest, top = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0) if top / lowest < 300 else (1.0,)))
    axes.yaxis.set_minor_locator(NullLocator())


def finish(axes: Axes, unit: str, seconds: float) -> None:
    """Label the axes of a chart over time."""
    label(axes, unit)
    time_axis(axes, seconds)
    if len(axes.get_legend_handles_labels()[1]) > 1:
        legend(axes)


def finish_chart(canvas: Canvas, name: str, title: str, caption: str) -> Chart:
    """Return the drawn canvas as a chart."""
    return Chart(name, title, caption, canvas.svg(title, caption))
