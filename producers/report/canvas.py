"""Turns a Matplotlib figure into SVG that lives in a page: its colours and fonts follow the page's style sheet."""

from __future__ import annotations

import html
import io
import re
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from matplotlib.axes import Axes

INK, MUTED, GRID = "#010101", "#020202", "#030303"
FIRST, SECOND, THIRD, BAD = "#040404", "#050505", "#060606", "#070707"
COLOURS: Final = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    FIRST: "var(--first)",
    SECOND: "var(--second)",
    THIRD: "var(--third)",
    BAD: "var(--bad)",
}
"""Stand-ins that no chart means literally, and the style sheet's names that replace them."""
WIDTH_IN: Final = 4.6
STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 3.0,
    "ytick.major.size": 0.0,
    "xtick.minor.size": 0.0,
    "ytick.minor.size": 0.0,
    "text.color": INK,
    "lines.linewidth": 1.6,
    "lines.solid_joinstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.handlelength": 1.4,
    "legend.columnspacing": 1.2,
    "legend.borderaxespad": 0.0,
    "legend.borderpad": 0.0,
}


class Canvas:
    """One chart; a context manager in which Matplotlib has the page's style."""

    def __init__(self, name: str, *, rows: int = 1, height_in: float = 2.35) -> None:
        """Take the name that makes its ids unique in the page."""
        self._name = name
        self._rows, self._height = rows, height_in
        self._context = mpl.rc_context({**STYLE, "svg.hashsalt": name})
        self.figure = Figure()

    def __enter__(self) -> list[Axes]:
        self._context.__enter__()
        self.figure = Figure(figsize=(WIDTH_IN, self._height), layout="constrained")
        FigureCanvasSVG(self.figure)
        return list(self.figure.subplots(self._rows, 1, sharex=self._rows > 1, squeeze=False)[:, 0])

    def __exit__(self, *told: object) -> None:
        self._context.__exit__(None, None, None)

    def svg(self, title: str, description: str) -> str:
        """Return the chart as an element for a page; text for readers who don't see it is part of it."""
        written = io.StringIO()
        with mpl.rc_context({**STYLE, "svg.hashsalt": self._name}):
            self.figure.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        drawn = written.getvalue()
        drawn = drawn[drawn.index("<svg") :]
        drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, count=1, flags=re.DOTALL)
        drawn = re.sub(r'(\sid="|href="#|url\(#)', rf"\g<1>{self._name}-", drawn)
        for stand_in, colour in COLOURS.items():
            drawn = drawn.replace(stand_in, colour)
        view = re.search(r'viewBox="[^"]*"', drawn)
        opening = (
            f'<svg class="chart" role="img" xmlns="http://www.w3.org/2000/svg" '
            f'xmlns:xlink="http://www.w3.org/1999/xlink" {view.group() if view else ""} '
            f'aria-labelledby="{self._name}-title {self._name}-desc">'
            f'<title id="{self._name}-title">{html.escape(title)}</title>'
            f'<desc id="{self._name}-desc">{html.escape(description)}</desc>'
        )
        return opening + drawn[drawn.index(">") + 1 :]


def label(axes: Axes, unit: str) -> None:
    """Write the unit of the y axis above it, where it reads without turning the head."""
    axes.set_title(unit, loc="left", color=MUTED, fontsize=8.5, pad=8)


def legend(axes: Axes) -> None:
    """Put the legend above the chart, to the right."""
    handles, names = axes.get_legend_handles_labels()
    axes.legend(handles, names, loc="lower right", bbox_to_anchor=(1.0, 1.035), ncols=len(names))


def time_axis(axes: Axes, seconds: float) -> None:
    """Label the x axis in seconds, minutes or hours."""
    unit, size = ("s", 1) if seconds <= 180 else ("min", 60) if seconds <= 3 * 3600 else ("h", 3600)
    axes.set_xlim(0, max(seconds, 1e-9))
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 1.5, 2, 3, 5, 6, 10] if size == 1 else [1, 2, 3, 5, 6, 10]))
    if size > 1:
        step = _time_step(seconds / size)
        axes.set_xticks([place * step * size for place in range(int(seconds / size / step) + 1)])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / size:g}"))
    axes.set_xlabel(f"{ {'s': 'seconds', 'min': 'minutes', 'h': 'hours'}[unit] } since the start", fontsize=8.5)


def _time_step(span: float) -> float:
    return next((step for step in _steps() if span / step <= 7), span / 6)


def _steps() -> Iterator[float]:
    yield from (0.5, 1, 2, 5, 10, 15, 20, 30, 60)


def plain_numbers(axes: Axes) -> None:
    """Write the y axis in thousands, as 5,000, or 1.2 M."""
    axes.yaxis.set_major_locator(MaxNLocator(4, min_n_ticks=3))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))


def short(value: float) -> str:
    """Return a number as people read it."""
    if abs(value) >= 1_000_000:
        return f"{value / 1_000_000:,.4g} M"
    return f"{value:,.0f}" if abs(value) >= 10 or value == int(value) else f"{value:,.2g}"


def highest(values: Iterable[float | None]) -> float:
    """Return the highest known value, 0 if there is none."""
    return max((value for value in values if value is not None), default=0.0)
