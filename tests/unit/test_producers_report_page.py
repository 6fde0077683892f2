"""The page: self-contained, the same bytes for the same report, every figure in it, and hostile text harmless."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from producers.report.build import RunFacts, build_report
from producers.report.charts import thin
from producers.report.load_report import LoadReport, milliseconds, signed
from producers.report.measures import Measures
from producers.report.page import draw_charts, render_report, write_report

SHARDS = ("shardId-000000000000", "shardId-000000000001")
WATCH: dict[str, Any] = {
    "verdict": "incomplete: 5,999 of 6,000 acknowledged events seen",
    "complete": False,
    "expected": 6_000,
    "seen": 5_999,
    "missing": 1,
    "latency_ms": {"p50": 310.0, "p95": 820.0, "p99": 1_120.0, "max": 1_630.0},
    "minutes": [
        {"minute": "2026-01-01T00:00:00Z", "acknowledged": 3_000, "seen": 3_000, "equal": True},
        {"minute": "2026-01-01T00:01:00Z", "acknowledged": 3_000, "seen": 2_999, "equal": False},
    ],
    "series": [{"second": second, "p50_ms": 300.0, "p95_ms": 800.0} for second in range(60)],
}


class Constant:
    def rate_at(self, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.full(len(seconds), 100.0)


class Ids(HTMLParser):
    """Collects ids, what refers to them, and every address that a browser would load."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.loaded: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id" and value:
                self.ids.append(value)
            if value and (name in {"src", "srcset"} or (name == "href" and tag != "a" and not value.startswith("#"))):
                self.loaded.append(value)


def build(
    *, watch: dict[str, Any] | None = None, throttled: int = 3, command: str = "listenlake produce"
) -> LoadReport:
    measures = Measures()
    for second in range(60):
        measures.note_call(
            second + 0.5,
            seconds=0.02,
            acknowledged=100,
            refused={"ProvisionedThroughputExceededException": throttled} if throttled else {},
            bytes_acknowledged=25_000,
            records=100,
            record_delay=np.full(100, 0.05),
            shards={SHARDS[0]: 60, SHARDS[1]: 40},
            unanswered=False,
        )
        measures.note_backlog(second + 0.5, second)
        measures.note_memory(second + 0.5, 80.0)
    facts = RunFacts(
        started_at="2026-01-01T00:00:00+00:00",
        command=command,
        settings={"rate": 100},
        stream="listens",
        endpoint="http://127.0.0.1:4566",
        shards=SHARDS,
        workers=1,
        seed=1,
        made=6_000,
        sent=6_000,
        seconds=60.0,
        longest_lag_s=0.25,
    )
    return build_report(measures, facts, schedule=Constant(), watch=watch, chaos={"throttle": 5})


@pytest.fixture(scope="module")
def page() -> str:
    return render_report(build(watch=WATCH))


def test_the_page_loads_nothing_and_its_ids_are_unique(page: str) -> None:
    read = Ids()
    read.feed(page)
    assert read.loaded == []
    assert "script" not in read.tags
    assert not re.search(r"@import|url\((?!#)", page)
    assert "default-src 'none'" in page
    assert len(read.ids) == len(set(read.ids))
    referred = set(re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', page))
    referred |= {name for names in re.findall(r'aria-labelledby="([^"]+)"', page) for name in names.split()}
    assert referred
    assert referred <= set(read.ids)


def test_the_page_tells_verdict_figures_and_how_to_run_it_again(page: str) -> None:
    text = " ".join(re.sub(r"<[^>]+>", " ", page).split())
    for told in (
        "Load test of listens: failed",
        "6,000 of 6,000 events acknowledged",
        "incomplete: 5,999 of 6,000 acknowledged events seen",
        "sent again after ProvisionedThroughputExceededException 180",
        "1 of 2 minutes are not equal: 00:01 (2,999 of 3,000 seen).",
        "2 shards, 40.0 % to 60.0 % of the events each",
        "At most 59 events waited; the processes took at most 80 MB.",
        "on-demand, plain (as run)",
        "prices as of 2023-09-21",
        "listenlake produce",
    ):
        assert told in text, told


def test_the_rate_is_held_to_account_unless_trouble_was_injected() -> None:
    troubled = build(watch=None)
    quiet = replace(troubled, chaos=None)
    assert "Rate within 1 %" not in [name for name, _, _ in troubled.checks()]
    assert ("Rate within 1 %", True, "100 of 100 events/s, +0.00 %") in quiet.checks()
    assert "100 of 100 events/s, +0.00 %" in render_report(quiet)


def test_every_chart_is_there_with_words_for_those_who_do_not_see_it(page: str) -> None:
    charts = draw_charts(build(watch=WATCH))
    assert [chart.name for chart in charts] == [
        "rate",
        "latency",
        "histogram",
        "trouble",
        "shards",
        "levels",
        "freshness",
        "completeness",
    ]
    for chart in charts:
        assert 'role="img"' in chart.svg
        assert f'<title id="{chart.name}-title">{chart.title}</title>' in chart.svg
        assert f'<desc id="{chart.name}-desc">' in chart.svg
    # No stand-in colour is left over, and none is fixed: the style sheet decides in light and in dark.
    assert not re.search(r"(?:fill|stroke): ?#(?!0{6}|f{6})", "".join(chart.svg for chart in charts))
    assert page.count("<svg") == len(charts)


def test_the_same_report_gives_the_same_bytes(page: str, tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.html"
    write_report(build(watch=WATCH), path)
    assert path.read_text(encoding="utf-8") == page
    assert path.stat().st_size < 400_000


def test_a_quiet_run_says_so_and_an_empty_one_is_a_page_all_the_same() -> None:
    quiet = build(throttled=0)
    assert [chart.name for chart in draw_charts(quiet)] == ["rate", "latency", "histogram", "shards", "levels"]
    assert "Nothing was throttled, refused or sent again." in render_report(quiet)
    totals = quiet.totals | {"acknowledged": 0, "target_rate": None, "rate_error_percent": None}
    empty = replace(quiet, series=[], shards=[], cost=[], totals=totals)
    assert draw_charts(empty) == []
    assert "<h1>" in render_report(empty)


def test_text_from_outside_is_text() -> None:
    rendered = render_report(build(command="listenlake produce --stream '<script>alert(1)</script>'"))
    assert "<script>" not in rendered
    assert "&lt;script&gt;" in rendered


def test_a_day_is_thinned_to_a_chart_and_stays_small() -> None:
    report = build()
    series = [report.series[0] | {"second": second, "acknowledged": 1_000} for second in range(3_600)]
    steps = thin(series, 1, 3_600.0)
    assert len(steps) == 300
    assert {step.rate("acknowledged") for step in steps} == {1_000.0}
    long = replace(report, series=series, totals=report.totals | {"seconds": 3_600.0})
    assert len(render_report(long)) < 1_500_000


def test_a_last_interval_cut_short_has_no_rate() -> None:
    series = build().series[:3]
    steps = thin(series, 1, 2.04)
    assert [step.rate("acknowledged") for step in steps] == [100.0, 100.0, None]
    assert steps[-1].highest("backlog") == 2


@pytest.mark.parametrize(
    ("value", "told"), [(None, "-"), (0.123, "0.12 ms"), (9.9, "9.9 ms"), (12.3, "12 ms"), (2_634.0, "2.63 s")]
)
def test_latencies_read_well(value: float | None, told: str) -> None:
    assert milliseconds(value) == told


def test_a_deviation_never_reads_minus_zero() -> None:
    assert [signed(percent) for percent in (-0.001, 0.0, -1.234, 2.0)] == ["+0.00", "+0.00", "-1.23", "+2.00"]
