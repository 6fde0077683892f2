"""Cost of a million events, against figures worked out by hand and the published comparison they come from."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from producers.errors import ProducerError
from producers.report.cost import CostLine, Load, estimate_costs, load_prices

PLAIN = Load(events=1_000_000, records=1_000_000, size=250e6, billed_kb=1e6, payload_units=1e6, seconds=1_000.0)


def find(lines: list[CostLine], mode: str, layout: str, sizing: str) -> CostLine:
    return next(line for line in lines if (line.mode, line.layout, line.sizing) == (mode, layout, sizing))


@pytest.mark.parametrize(
    ("mode", "layout", "dollars", "within"),
    [
        ("on-demand", "plain", 0.086, 0.0005),
        ("provisioned", "plain", 0.018, 0.0005),
        ("on-demand", "aggregated", 0.028, 0.0005),
        ("provisioned", "aggregated", 0.0012, 0.0001),
    ],
)
def test_a_million_events_of_250_bytes_cost_what_the_comparison_says(
    mode: str, layout: str, dollars: float, within: float
) -> None:
    line = find(estimate_costs(PLAIN, load_prices()), mode, layout, "fully used")
    assert line.total == pytest.approx(dollars, abs=within)
    assert line.total == pytest.approx(line.write + line.read + line.capacity)
    assert line.as_run == (layout == "plain")


def test_at_this_load_idle_capacity_is_paid_for() -> None:
    # 300 events a second need one shard, 0.3 of it in use: a million takes 3333.3 s, 0.926 h.
    lines = estimate_costs(replace(PLAIN, seconds=1_000_000 / 300), load_prices())
    provisioned = find(lines, "provisioned", "plain", "at this load")
    assert provisioned.shards == 1
    assert provisioned.capacity == pytest.approx(0.925926 * 0.015, rel=1e-5)
    assert provisioned.write == pytest.approx(0.014)
    on_demand = find(lines, "on-demand", "plain", "at this load")
    assert on_demand.capacity == pytest.approx(0.925926 * 0.04, rel=1e-5)
    assert on_demand.write == pytest.approx(1_024e6 / 2**30 * 0.08)
    assert on_demand.read == pytest.approx(250e6 / 2**30 * 0.04)


@pytest.mark.parametrize(
    ("records_s", "bytes_s", "shards"), [(1_000, 1_000, 1), (1_001, 1_000, 2), (10, 2**20 * 3, 3), (10, 2**20 * 3.1, 4)]
)
def test_shards_follow_the_tighter_of_the_two_limits(records_s: float, bytes_s: float, shards: int) -> None:
    load = Load(
        events=int(records_s * 60),
        records=records_s * 60,
        size=bytes_s * 60,
        billed_kb=records_s * 60,
        payload_units=records_s * 60,
        seconds=60.0,
    )
    assert find(estimate_costs(load, load_prices()), "provisioned", "plain", "at this load").shards == shards


def test_an_aggregated_run_is_compared_with_records_of_one_event() -> None:
    # 100 events of 250 bytes a record, 25,000 bytes: 25 KB billed, one payload unit.
    run = Load(events=1_000_000, records=10_000, size=250e6, billed_kb=250e3, payload_units=10_000, seconds=100.0)
    lines = estimate_costs(run, load_prices())
    assert [line.as_run for line in lines] == [True] * 4 + [False] * 4
    assert find(lines, "provisioned", "aggregated", "at this load").shards == 3
    assert find(lines, "provisioned", "aggregated", "fully used").write == pytest.approx(0.01 * 0.014)
    assert find(lines, "provisioned", "plain", "at this load").shards == 10
    assert find(lines, "on-demand", "plain", "fully used").total == pytest.approx(0.0856, abs=0.0001)


def test_nothing_acknowledged_costs_nothing_to_tell() -> None:
    assert estimate_costs(replace(PLAIN, events=0), load_prices()) == []


def test_the_list_says_where_and_when_each_price_is_from(tmp_path: Path) -> None:
    prices = load_prices()
    assert prices.region == "us-east-1"
    for price in prices.prices.values():
        assert price["source"].startswith("https://")
        if price["as_of"] is not None:  # a page may have no date, or only a year and a month
            assert re.fullmatch(r"\d{4}(-\d\d){0,2}", price["as_of"])
            assert price["as_of"] <= prices.read
    written = prices.to_json()
    written["prices"]["on_demand_written_gb"]["amount"] = 0.16
    own = tmp_path / "prices.json"
    own.write_text(json.dumps(written))
    dearer = find(estimate_costs(PLAIN, load_prices(own)), "on-demand", "plain", "fully used")
    assert dearer.write == pytest.approx(
        2 * find(estimate_costs(PLAIN, prices), "on-demand", "plain", "fully used").write
    )


@pytest.mark.parametrize("text", ["", "{}", '{"region": "x"}', "[1]"])
def test_a_file_that_is_no_price_list_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "prices.json"
    path.write_text(text)
    with pytest.raises(ProducerError, match="a price list with the prices on_demand_stream_hour"):
        load_prices(path)
