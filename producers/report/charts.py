"""What the charts of a report share: points of a series, lines, axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from producers.report.canvas import Canvas, label, legend, milliseconds, time_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_POINTS: Final = 300
"""Points per line; a longer series is drawn with wider intervals."""
LEAST_COVERED: Final = 0.5
"""A last interval of which less was run is not drawn: its rate would be noise."""


@dataclass(frozen=True)
class Chart:
    """A chart: heading, what it shows in words with figures, and the element itself."""

    name: str
    title: str
    caption: str
    svg: str


@dataclass(frozen=True)
class Step:
    """One point of the drawn series: an interval, its middle, its length, and the entries of it."""

    middle: float
    seconds: float
    entries: list[dict[str, Any]]

    def rate(self, name: str) -> float | None:
        """Return events per second; None where nothing is known."""
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
        if length >= LEAST_COVERED * interval_s or (not steps and length > 0):
            steps.append(Step(begin + length / 2, length, entries))
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


def log_milliseconds(axes: Axes) -> None:
    """Make the y axis logarithmic, in milliseconds; call it when the lines are drawn."""
    axes.set_yscale("log")
    lowest, top = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0) if top / lowest < 300 else (1.0,)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: milliseconds(value)))


def finish(axes: Axes, unit: str, seconds: float) -> None:
    """Label the axes of a chart over time."""
    label(axes, unit)
    time_axis(axes, seconds)
    if len(axes.get_legend_handles_labels()[1]) > 1:
        legend(axes)


def finish_chart(canvas: Canvas, name: str, title: str, caption: str) -> Chart:
    """Return the drawn canvas as a chart."""
    return Chart(name, title, caption, canvas.svg(title, caption))
