"""What people see of a load test when it has ended."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from producers.report.load_report import LoadReport, milliseconds


def show_load_summary(console: Console, report: LoadReport) -> None:
    """Print what a load test came to: checks, figures, cost, and one line at the end that says how it went."""
    totals = report.totals
    checks = build_table("check", "holds", "figures", title="Load test")
    for name, holds, told in report.checks():
        checks.add_row(name, Text("yes", style="green") if holds else Text("no", style="bold red"), Text(told))
    console.print(checks)
    delivery = build_table("delivery", "", title=None)
    rows: list[tuple[str, str]] = [
        ("acknowledged", f"{totals['acknowledged']:,} of {totals['made']:,}"),
        ("failed, never sent", f"{totals['failed']:,}, {totals['never_sent']:,}"),
        ("events/s", f"{totals['events_per_second']:,.1f}"),
        ("calls, of these unanswered", f"{totals['calls']:,}, {totals['unanswered']:,}"),
        ("records, bytes", f"{totals['records']:,}, {totals['bytes']:,}"),
        ("longest lag", f"{totals['longest_lag_s']:.2f} s"),
        *((f"sent again after {code}", f"{events:,}") for code, events in totals["retried"].items()),
        *((f"injected: {kind}", f"{number}") for kind, number in (report.chaos or {}).items()),
    ]
    for name, value in rows:
        delivery.add_row(Text(name), value)
    console.print(Text(), delivery, Text(), sep="\n")
    latency = build_table("latency", "p50", "p95", "p99", "max")
    watch = report.watch or {}
    for name, values in (
        ("due to acknowledged", report.latency_ms["delay"]),
        ("PutRecords call", report.latency_ms["call"]),
        ("put to seen", watch.get("latency_ms")),
        ("first sent to seen", watch.get("sent_to_seen_ms")),
    ):
        if values:
            latency.add_row(name, *[milliseconds(values.get(key)) for key in ("p50", "p95", "p99", "max")])
    console.print(latency)
    if report.cost:
        console.print(_draw_cost(report))
    print_line(console, report.headline())


def _draw_cost(report: LoadReport) -> Table:
    prices = report.prices
    table = build_table(
        f"{prices['currency']} per million events, {prices['region']}, prices of {prices['as_of']}",
        "at this load",
        "fully used",
    )
    rows: dict[str, list[str]] = {}
    for line in report.cost:
        name = f"{line['mode']}, {line['layout']}{' (as run)' if line['as_run'] else ''}"
        rows.setdefault(name, []).append(f"{line['total']:.4f}")
    for name, sizings in rows.items():
        table.add_row(Text(name), *sizings)
    return table


def build_table(first: str, *others: str, title: str | None = None) -> Table:
    """Return a table without lines; all but the first column are numbers, except `figures`."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column(Text(first))
    for name in others:
        table.add_column(Text(name), justify="left" if name == "figures" else "right")
    return table


def print_line(console: Console, line: str) -> None:
    """Print a line as it is, however long."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)
