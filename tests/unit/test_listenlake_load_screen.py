"""What a terminal, a pipe and the end of a load test show."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from listenlake.load_screen import LoadProgress, LoadScreen, draw_progress, tell_progress
from listenlake.load_summary import show_load_summary
from producers.report.build import RunFacts, build_report
from producers.report.measures import Measures

SHARD = "shardId-000000000000"


def measure(seconds: int = 10) -> Measures:
    """A hundred events a second, each 50 ms after it was due, one throttled."""
    measures = Measures()
    for second in range(seconds):
        measures.note_call(
            second + 0.5,
            seconds=0.02,
            acknowledged=100,
            refused={"ProvisionedThroughputExceededException": 1},
            bytes_acknowledged=25_000,
            records=100,
            record_delay=np.full(100, 0.05),
            shards={SHARD: 100},
            unanswered=False,
        )
    measures.note_backlog(seconds, 42)
    return measures


def progress(elapsed_s: float, *, watch: dict[str, Any] | None = None) -> LoadProgress:
    return LoadProgress(
        elapsed_s=elapsed_s,
        total_s=60.0,
        target_rate=120.0,
        snapshot=measure().snapshot(10.0),
        in_flight=17,
        watch=watch,
    )


def show(console_width: int, **console: Any) -> tuple[Console, io.StringIO]:
    written = io.StringIO()
    return Console(file=written, width=console_width, **console), written


def test_a_pipe_gets_one_plain_line_every_five_seconds() -> None:
    console, written = show(80, force_terminal=False)
    with LoadScreen(console, "listens") as screen:
        for half_second in range(31):
            screen.update(progress(half_second / 2))
    lines = written.getvalue().splitlines()
    assert [line.split()[0] for line in lines] == ["5.0", "10.0", "15.0"]
    assert "\x1b" not in written.getvalue()
    assert "100/s of 120/s  acknowledged 1,000  retried 10  throttled 10  unanswered 0  in flight 17" in lines[0]


def test_a_late_update_does_not_shift_the_next_line() -> None:
    console, written = show(80, force_terminal=False)
    with LoadScreen(console, "listens") as screen:
        for second in (4.9, 13.0, 14.9, 15.0):
            screen.update(progress(second))
    assert [line.split()[0] for line in written.getvalue().splitlines()] == ["13.0", "15.0"]


def test_a_terminal_is_redrawn_in_place() -> None:
    console, written = show(100, force_terminal=True)
    with LoadScreen(console, "listens") as screen:
        screen.update(progress(1.0))
        screen.update(progress(2.0))
    assert "00:01 of 01:00" in written.getvalue()
    assert "00:02 of 01:00" in written.getvalue()
    assert "\x1b[" in written.getvalue()


def test_the_live_view_has_rate_latency_shards_and_what_the_consumer_saw() -> None:
    console, written = show(120, force_terminal=False)
    watch = {"seen": 990, "missing": 10, "latency_ms": {"p50": 310.0, "p95": 820.0, "p99": 1_120.0}}
    console.print(draw_progress(progress(75.0, watch=watch), "listens"))
    rows = [line.split() for line in written.getvalue().splitlines()]
    assert ["100", "120", "1,000", "10", "10", "0", "17", "42"] in rows
    assert rows[0] == ["listens", "01:15", "of", "01:00", "━" * 32]
    shard = next(row for row in rows if row[:1] == [SHARD])
    assert shard[1:3] == ["1,000", "100.0%"]
    assert ["so", "far", "990", "10", "-", "-", "310", "ms", "820", "ms", "1.12", "s"] in rows
    overall = next(row for row in rows if row[:5] == ["due", "to", "acknowledged,", "since", "the"])
    assert overall[-2:] == ["50", "ms"]


def test_nothing_measured_yet_is_shown_as_such() -> None:
    empty = LoadProgress(elapsed_s=0.0, total_s=None, target_rate=None, snapshot=Measures().snapshot(0.0), in_flight=0)
    console, written = show(120, force_terminal=False)
    console.print(draw_progress(empty, "listens"))
    assert "nan" not in written.getvalue().split()
    assert tell_progress(empty).endswith("p50 p95 p99 - - -")


@pytest.mark.parametrize("complete", [True, False])
def test_the_summary_ends_with_the_headline(complete: bool) -> None:
    facts = RunFacts(
        started_at="2026-01-01T00:00:00+00:00",
        command="listenlake produce",
        settings={},
        stream="[bold]listens",
        endpoint="http://127.0.0.1:4566",
        shards=(SHARD,),
        workers=1,
        seed=1,
        made=1_000,
        sent=1_000,
        seconds=10.0,
        longest_lag_s=0.1,
    )
    watch = {"complete": complete, "verdict": "[red]990 of 1,000 seen", "latency_ms": {"p50": 5.0}}
    report = build_report(measure(), facts, schedule=None, watch=watch, chaos={"throttle": 4})
    console, written = show(120, force_terminal=False)
    show_load_summary(console, report)
    lines = written.getvalue().splitlines()
    assert lines[-1] == report.headline()
    assert lines[-1].startswith("load test passed" if complete else "load test failed (seen by the consumer as sent)")
    assert lines[-1].endswith("[red]990 of 1,000 seen")
    rows = [line.split() for line in lines]
    assert ["sent", "again", "after", "ProvisionedThroughputExceededException", "10"] in rows
    assert ["injected:", "throttle", "4"] in rows
    assert ["put", "to", "seen", "5", "ms", "-", "-", "-"] in rows
    assert any(row[:4] == ["on-demand,", "plain", "(as", "run)"] for row in rows)
