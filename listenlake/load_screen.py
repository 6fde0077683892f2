"""What people see of a load test while it runs: a live view, or lines where there is no terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from listenlake.load_summary import build_table, print_line
from producers.report.load_report import milliseconds
from producers.report.measures import Snapshot

LINE_EVERY_S: Final = 5.0
MOST_SHARDS: Final = 12
QUANTILES: Final = (0.5, 0.95, 0.99)
WATCH_FIGURES: Final = (
    ("seen", "seen"),
    ("missing", "missing"),
    ("duplicates_found", "duplicates"),
    ("out_of_order", "out of order"),
)


@dataclass(frozen=True, kw_only=True)
class LoadProgress:
    """Where a load test stands.

    Attributes:
        elapsed_s: Seconds since the start.
        total_s: Seconds it will take; None if that is not known.
        target_rate: Events per second asked for now; None without a rate.
        snapshot: What all lanes measured until now.
        in_flight: Events taken up and not acknowledged.
        watch: What the consumer saw until now, by the names of the report's `watch`; None if nobody watches.
    """

    elapsed_s: float
    total_s: float | None
    target_rate: float | None
    snapshot: Snapshot
    in_flight: int
    watch: Mapping[str, Any] | None = None


class LoadScreen:
    """A context manager that shows each `LoadProgress` it is given.

    On a terminal the view is redrawn in place and gone at the end. Elsewhere one plain line comes every five seconds.
    """

    def __init__(self, console: Console, title: str) -> None:
        """Take the console to write to and the name of what runs."""
        self._console, self._title = console, title
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._next_line_s = LINE_EVERY_S

    def __enter__(self) -> LoadScreen:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, progress: LoadProgress) -> None:
        """Show where it stands; call it about twice a second."""
        if self._live is not None:
            self._live.update(draw_progress(progress, self._title), refresh=True)
        elif progress.elapsed_s >= self._next_line_s:
            self._next_line_s = (progress.elapsed_s // LINE_EVERY_S + 1) * LINE_EVERY_S
            print_line(self._console, tell_progress(progress))


def tell_progress(progress: LoadProgress) -> str:
    """Return one line that says where it stands."""
    snapshot = progress.snapshot
    latency = " ".join(_ms(snapshot.recent_delay_quantile(quantile)) for quantile in QUANTILES)
    rate = f"{snapshot.recent_rate:,.0f}/s"
    if progress.target_rate is not None:
        rate += f" of {progress.target_rate:,.0f}/s"
    parts = [
        f"{progress.elapsed_s:7.1f} s",
        rate,
        f"acknowledged {snapshot.totals.acknowledged:,}",
        f"retried {sum(snapshot.totals.retried.values()):,}",
        f"throttled {snapshot.totals.throttled:,}",
        f"unanswered {snapshot.totals.unanswered:,}",
        f"in flight {progress.in_flight:,}",
        f"p50 p95 p99 {latency}",
    ]
    if progress.watch is not None:
        parts += [
            f"{name} {progress.watch[key]:,}" for key, name in WATCH_FIGURES if progress.watch.get(key) is not None
        ]
    return "  ".join(parts)


def draw_progress(progress: LoadProgress, title: str) -> RenderableType:
    """Return the live view."""
    snapshot, totals = progress.snapshot, progress.snapshot.totals
    head = Table.grid(padding=(0, 2))
    head.add_row(
        Text(title, style="bold"),
        Text(_clock(progress.elapsed_s) + (f" of {_clock(progress.total_s)}" if progress.total_s else "")),
        _bar(progress.total_s, progress.elapsed_s, width=32) if progress.total_s else Text(""),
    )
    figures = Table.grid(padding=(0, 3))
    names, values = [], []
    for name, value in (
        ("events/s", f"{snapshot.recent_rate:,.0f}"),
        ("asked", "-" if progress.target_rate is None else f"{progress.target_rate:,.0f}"),
        ("acknowledged", f"{totals.acknowledged:,}"),
        ("retried", f"{sum(totals.retried.values()):,}"),
        ("throttled", f"{totals.throttled:,}"),
        ("unanswered", f"{totals.unanswered:,}"),
        ("in flight", f"{progress.in_flight:,}"),
        ("waiting", "-" if snapshot.backlog is None else f"{snapshot.backlog:,.0f}"),
    ):
        figures.add_column(justify="right")
        names.append(Text(name, style="dim"))
        values.append(Text(value, style="bold"))
    figures.add_row(*names)
    figures.add_row(*values)
    parts: list[RenderableType] = [head, Text(""), figures, Text(""), _draw_latencies(snapshot)]
    if totals.shards:
        parts += [Text(""), _draw_shards(snapshot)]
    if progress.watch is not None:
        parts += [Text(""), _draw_watch(progress.watch)]
    return Group(*parts)


def _draw_latencies(snapshot: Snapshot) -> Table:
    table = build_table("latency", "p50", "p95", "p99", "max")
    recent = [_ms(snapshot.recent_delay_quantile(quantile)) for quantile in QUANTILES]
    table.add_row(f"due to acknowledged, last {snapshot.recent_s:.0f} s", *recent, "")
    for name, histogram in (
        ("due to acknowledged, since the start", snapshot.delay),
        ("PutRecords call", snapshot.call),
    ):
        values = [_ms(histogram.quantile(quantile)) for quantile in QUANTILES]
        table.add_row(name, *values, _ms(histogram.maximum if histogram.count else math.nan))
    return table


def _draw_shards(snapshot: Snapshot) -> Table:
    table = build_table("shard", "acknowledged", "share")
    shards = dict(sorted(snapshot.totals.shards.items()))
    total, most = sum(shards.values()) or 1, max(shards.values())
    table.add_column()
    for shard_id, events in list(shards.items())[:MOST_SHARDS]:
        table.add_row(shard_id, f"{events:,}", f"{events / total:.1%}", _bar(most, events, width=24))
    if len(shards) > MOST_SHARDS:
        table.add_row(f"and {len(shards) - MOST_SHARDS} more", "", "", "")
    return table


def _draw_watch(watch: Mapping[str, Any]) -> Table:
    latency = watch.get("latency_ms") or {}
    table = build_table("consumer", *[name for _, name in WATCH_FIGURES], "put to seen p50", "p95", "p99")
    table.add_row(
        "so far",
        *["-" if watch.get(key) is None else f"{watch[key]:,}" for key, _ in WATCH_FIGURES],
        *[milliseconds(latency.get(name)) for name in ("p50", "p95", "p99")],
    )
    return table


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"


def _ms(seconds: float) -> str:
    return "-" if math.isnan(seconds) else milliseconds(seconds * 1000)


def _bar(total: float, done: float, *, width: int) -> ProgressBar:
    return ProgressBar(total, min(done, total), width=width, complete_style="cyan", finished_style="cyan")
