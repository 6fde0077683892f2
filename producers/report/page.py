"""Writes the report of a load test as one HTML file that needs nothing else: no network, no script."""

from __future__ import annotations

import json
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from producers.report.charts import thin
from producers.report.load_report import milliseconds
from producers.report.plots import draw_histogram, draw_latency, draw_rate, draw_shards, draw_trouble
from producers.report.watch_plots import draw_completeness, draw_freshness, draw_levels

if TYPE_CHECKING:
    from pathlib import Path

    from producers.report.charts import Chart
    from producers.report.load_report import LoadReport

MOST_SHARD_ROWS: Final = 64
MOST_UNEQUAL_MINUTES: Final = 60


def write_report(report: LoadReport, path: Path) -> None:
    """Write the page to `path`, whose folder is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render_report(report), encoding="utf-8")


def render_report(report: LoadReport) -> str:
    """Return the page; the same report gives the same bytes."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["ms"] = milliseconds
    environment.filters["count"] = lambda value: "-" if value is None else f"{value:,.0f}"
    environment.filters["money"] = _money
    environment.filters["svg"] = Markup
    template = (resources.files("producers.report") / "report.html.j2").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        report=report,
        run=report.run,
        totals=report.totals,
        checks=report.checks(),
        passed=all(holds for _, holds, _ in report.checks()),
        charts=draw_charts(report),
        costs=_cost_rows(report),
        shards=report.shards[:MOST_SHARD_ROWS],
        watch=report.watch,
        unequal=[one for one in (report.watch or {}).get("minutes") or [] if not one["equal"]][:MOST_UNEQUAL_MINUTES],
        settings=json.dumps(report.run["settings"], indent=2, ensure_ascii=False, default=str),
    )


def draw_charts(report: LoadReport) -> list[Chart]:
    """Return the charts that this run has something to show in."""
    seconds = report.totals["seconds"]
    steps = thin(report.series, report.interval_s, seconds)
    watch = report.watch or {}
    charts = [
        *((draw_rate(report, steps), draw_latency(report, steps), draw_histogram(report)) if steps else ()),
        draw_trouble(report, steps),
        draw_shards(report),
        draw_levels(report, steps),
        draw_freshness(watch, seconds),
        draw_completeness(watch),
    ]
    return [chart for chart in charts if chart is not None]


def _money(value: float) -> str:
    if not value:
        return "0"
    return f"{value:.2f}" if value >= 10 else f"{value:.3f}" if value >= 0.01 else f"{value:.5f}"


def _cost_rows(report: LoadReport) -> list[dict[str, Any]]:
    """Return one row per mode and layout, with both sizings; the run's own layout first."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for line in report.cost:
        row = rows.setdefault((line["layout"], line["mode"]), {**line, "sizings": {}})
        row["sizings"][line["sizing"]] = line
    return list(rows.values())
