"""The report of a load test as plain values: what was asked, what happened, what it would cost."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

RATE_TOLERANCE_PERCENT: Final = 1.0


@dataclass(frozen=True)
class LoadReport:
    """The report; every part is plain JSON.

    Attributes:
        run: What was run, and how to run it again.
        totals: Sums over the run.
        latency_ms: `call` and `delay` with p50, p95, p99 and max; `histogram` of delay and `call_histogram` of calls as
            `[upper edge, count]`.
        interval_s: Seconds per entry of `series`.
        series: Per interval, counts of it: events due (`target`, null without a rate), acknowledged, retried,
            throttled; latencies and levels. `p50_ms` … are of delay, or of calls where there is no rate.
        shards: Events, records and bytes per shard, and its share of the events.
        cost: A million events per mode, layout and sizing.
        prices: The price list it was computed with.
        watch: What the consumer saw; None if nobody watched.
        chaos: Troubles injected, by kind; None if none were asked for.
    """

    run: dict[str, Any]
    totals: dict[str, Any]
    latency_ms: dict[str, Any]
    interval_s: int
    series: list[dict[str, Any]]
    shards: list[dict[str, Any]]
    cost: list[dict[str, Any]]
    prices: dict[str, Any]
    watch: dict[str, Any] | None
    chaos: dict[str, Any] | None

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values; `LoadReport(**written)` reads it back."""
        return asdict(self)

    def checks(self) -> list[tuple[str, bool, str]]:
        """Return what a load test must hold: what is checked, whether it holds, and the figures."""
        totals = self.totals
        given = totals["made"] - totals["acknowledged"]
        told = f"{totals['acknowledged']:,} of {totals['made']:,} events acknowledged"
        if given:
            told += f", {totals['failed']:,} failed, {totals['never_sent']:,} never sent"
        checks = [("Everything acknowledged", given == 0, told)]
        error = totals["rate_error_percent"]
        # With trouble injected, the rate is not the delivery's to hold.
        if error is not None and self.chaos is None:
            told = f"{totals['events_per_second']:,.0f} of {totals['target_rate']:,.0f} events/s, {signed(error)} %"
            checks.append((f"Rate within {RATE_TOLERANCE_PERCENT:g} %", abs(error) <= RATE_TOLERANCE_PERCENT, told))
        if self.watch is not None:
            # Complete is not enough: nothing may be altered, multiplied or out of order either.
            good = bool(self.watch.get("good", self.watch["complete"]))
            checks.append(("Seen by the consumer as sent", good, str(self.watch["verdict"])))
        return checks

    def headline(self) -> str:
        """Return one line that says how it went."""
        totals, delay = self.totals, self.latency_ms["delay"]
        latency = delay if delay["p99"] is not None else self.latency_ms["call"]
        failed = [name.lower() for name, holds, _ in self.checks() if not holds]
        parts = [
            "load test passed" if not failed else f"load test failed ({', '.join(failed)})",
            f"{totals['acknowledged']:,} of {totals['made']:,} events acknowledged",
            f"{totals['events_per_second']:,.0f} events/s",
        ]
        if totals["target_rate"]:
            parts[-1] += f" of {totals['target_rate']:,.0f} asked"
        if latency["p99"] is not None:
            parts.append(f"p99 {milliseconds(latency['p99'])}")
        if self.watch is not None:
            parts.append(str(self.watch["verdict"]))
        return " · ".join(parts)


def signed(percent: float) -> str:
    """Return a deviation with its sign, two places, and no minus before zero."""
    return f"{round(percent, 2) + 0.0:+.2f}"


def milliseconds(value: float | None) -> str:
    """Return a latency as people read it."""
    if value is None:
        return "-"
    if value >= 1_000:
        return f"{value / 1000:.3g} s"
    return f"{value:.0f} ms" if value >= 10 else f"{value:.2g} ms"
