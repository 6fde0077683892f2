"""The charts of a load test's report, each an SVG element with a title and a sentence that says what it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from producers.report.canvas import (
    FIRST,
    INK,
    MUTED,
    SECOND,
    THIRD,
    Canvas,
    highest,
    label,
    plain_numbers,
    short,
)
from producers.report.charts import Chart, Step, draw_line, finish, finish_chart, latency_axis
from producers.report.load_report import milliseconds, signed

if TYPE_CHECKING:
    from producers.report.load_report import LoadReport

MOST_NAMED_SHARDS: Final = 16
PERCENT: Final = FuncFormatter(lambda value, _: f"{value * 100:g} %")


def draw_rate(report: LoadReport, steps: list[Step]) -> Chart:
    """Draw the events acknowledged per second against those that were asked for."""
    canvas, totals = Canvas("rate"), report.totals
    reached = [step.rate("acknowledged") for step in steps]
    asked = [step.rate("target") for step in steps]
    with canvas as (axes,):
        draw_line(axes, steps, reached, FIRST, "acknowledged", fill=True)
        if any(value is not None for value in asked):
            draw_line(axes, steps, asked, INK, "asked", dashed=True)
        axes.set_ylim(0, (highest(reached + asked) or 1) * 1.12)
        plain_numbers(axes)
        finish(axes, "events per second", totals["seconds"])
    caption = f"{totals['events_per_second']:,.0f} events/s over {totals['seconds']:,.1f} s"
    if totals["target_rate"]:
        caption += f" of {totals['target_rate']:,.0f} asked ({signed(totals['rate_error_percent'])} %)"
    caption += f"; at worst {totals['longest_lag_s']:,.2f} s behind."
    return finish_chart(canvas, "rate", "Rate", caption)


def draw_latency(report: LoadReport, steps: list[Step]) -> Chart:
    """Draw the quantiles of latency over time."""
    canvas = Canvas("latency")
    with canvas as (axes,):
        drawn: list[float | None] = []
        for name, colour in (("p50_ms", THIRD), ("p95_ms", FIRST), ("p99_ms", SECOND)):
            values = [step.highest(name) for step in steps]
            draw_line(axes, steps, values, colour, name[:3])
            drawn += values
        latency_axis(axes, drawn)
        finish(axes, "latency", report.totals["seconds"])
    kind, overall = _latency(report)
    return finish_chart(
        canvas,
        "latency",
        "Latency over time",
        f"{kind}: p50 {milliseconds(overall['p50'])}, p95 {milliseconds(overall['p95'])}, "
        f"p99 {milliseconds(overall['p99'])}, at most {milliseconds(overall['max'])}.",
    )


def draw_histogram(report: LoadReport) -> Chart:
    """Draw how latencies are spread, on a logarithmic axis."""
    canvas = Canvas("histogram")
    kind, overall = _latency(report)
    bars = report.latency_ms["histogram"] or report.latency_ms["call_histogram"]
    total = sum(count for _, count in bars) or 1
    with canvas as (axes,):
        uppers = [upper for upper, _ in bars]
        ratio = (120_000 / 0.1) ** (1 / 96)
        widths = [upper - upper / ratio for upper in uppers]
        shares = [count / total for _, count in bars]
        lowers = [upper / ratio for upper in uppers]
        axes.bar(lowers, shares, width=widths, align="edge", color=FIRST, linewidth=0, alpha=0.85)
        axes.set_xscale("log")
        axes.set_ylim(0, (max(shares, default=1.0)) * 1.2)
        for name, height in (("p50", 0.99), ("p95", 0.9), ("p99", 0.81)):
            if overall[name] is not None:
                axes.axvline(overall[name], color=INK, linewidth=0.9, linestyle=(0, (2, 2)))
                axes.annotate(
                    name,
                    (overall[name], height),
                    xycoords=axes.get_xaxis_transform(),
                    xytext=(3, 0),
                    textcoords="offset points",
                    va="top",
                    fontsize=8,
                )
        axes.xaxis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0) if _decades(uppers) < 2.5 else (1.0,)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: milliseconds(value)))
        axes.yaxis.set_major_locator(MaxNLocator(5, min_n_ticks=3))
        axes.yaxis.set_major_formatter(PERCENT)
        label(axes, "share of events" if report.latency_ms["histogram"] else "share of calls")
    return finish_chart(canvas, "histogram", "Latency spread", f"{kind}, {short(total)} values on a logarithmic axis.")


def draw_trouble(report: LoadReport, steps: list[Step]) -> Chart | None:
    """Draw what was refused over time; None if nothing was."""
    totals = report.totals
    if not any(entry["retried"] for entry in report.series):
        return None
    canvas = Canvas("trouble")
    with canvas as (axes,):
        width = [step.seconds * 0.9 for step in steps]
        throttled = [step.rate("throttled") or 0.0 for step in steps]
        other = [(step.rate("retried") or 0.0) - limit for step, limit in zip(steps, throttled, strict=True)]
        middles = [step.middle for step in steps]
        if any(throttled):
            axes.bar(middles, throttled, width=width, color=SECOND, linewidth=0, label="throttled")
        if any(other):
            axes.bar(middles, other, width=width, bottom=throttled, color=MUTED, linewidth=0, label="other refusals")
        plain_numbers(axes)
        finish(axes, "events per second sent again", totals["seconds"])
    codes = ", ".join(f"{code} {events:,}" for code, events in totals["retried"].items()) or "none"
    caption = f"Sent again by error: {codes}; {totals['unanswered']:,} calls got no answer."
    return finish_chart(canvas, "trouble", "Throttles and retries", caption)


def draw_shards(report: LoadReport) -> Chart | None:
    """Draw the share of each shard; None if there is but one, or nothing was acknowledged."""
    shards = report.shards
    if len(shards) < 2 or not any(shard["acknowledged"] for shard in shards):
        return None
    even, named = 1 / len(shards), len(shards) <= MOST_NAMED_SHARDS
    canvas = Canvas("shards", height_in=max(2.35, 0.9 + 0.24 * len(shards)) if named else 2.35)
    shares = [shard["share"] for shard in shards]
    with canvas as (axes,):
        if named:
            names = [_short_shard(shard["shard_id"]) for shard in shards]
            axes.barh(names, shares, color=FIRST, height=min(0.62, 0.2 * len(shards)), linewidth=0, alpha=0.85)
            axes.invert_yaxis()
            axes.axvline(even, color=INK, linewidth=0.9, linestyle=(0, (2, 2)))
            axes.grid(visible=False)
            for place, share in enumerate(shares):
                axes.text(1.0, place, _percent(share), transform=axes.get_yaxis_transform(), va="center", ha="right")
            axes.set_xlim(0, max(*shares, even) * 1.25)
            axes.xaxis.set_major_formatter(PERCENT)
        else:
            axes.bar(range(len(shares)), shares, color=FIRST, linewidth=0, alpha=0.85)
            axes.axhline(even, color=INK, linewidth=0.9, linestyle=(0, (2, 2)))
            axes.yaxis.set_major_formatter(PERCENT)
            axes.set_xlabel("shards by id", fontsize=8.5)
        label(axes, "share of events per shard, dashed: even")
    caption = (
        f"{len(shards)} shards, {_percent(min(shares))} to {_percent(max(shares))} of the events each; even would be "
        f"{_percent(even)}. The busiest has {max(shares) / even:.2f} times its part."
    )
    return finish_chart(canvas, "shards", "Balance of shards", caption)


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %"


def _short_shard(shard_id: str) -> str:
    digits = shard_id.rsplit("-", 1)[-1].lstrip("0") or "0"
    return f"shard {digits}" if shard_id.startswith("shardId-") else shard_id


def _decades(uppers: list[float]) -> float:
    return len(f"{int(uppers[-1] / uppers[0])}") if uppers else 0.0


def _latency(report: LoadReport) -> tuple[str, dict[str, Any]]:
    delay: dict[str, Any] = report.latency_ms["delay"]
    if delay["p50"] is not None:
        return "From an event being due to its acknowledgement", delay
    return "Of a PutRecords call", report.latency_ms["call"]
