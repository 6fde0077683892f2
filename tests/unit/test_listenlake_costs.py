"""The cost model against figures worked out by hand from the prices."""

from __future__ import annotations

import pytest

from infra.environments import ENVIRONMENTS, Environment
from listenlake.cost_model import PRICE_NAMES, Line, Workload, estimate_bill
from producers.report.cost import load_prices

DEV, PROD = ENVIRONMENTS["dev"], ENVIRONMENTS["prod"]


def bill(environment: Environment = DEV, *, rate: float = 1_000.0, workload: Workload | None = None) -> dict[str, Line]:
    lines = estimate_bill(environment, workload or Workload(), [rate], load_prices(names=PRICE_NAMES))
    return {line.part: line for line in lines}


def test_a_month_in_which_nothing_comes() -> None:
    idle = {part: line.idle_month for part, line in bill().items()}
    expected = {
        "Kinesis": 2 * 0.015 * 730,  # two shards
        "Glue: ingest_listens": 2 * 0.44 * 730,  # two workers, all day
        "Glue: batch_transform": 0.0,
        "Glue: kpi_transformation": 730 * 2 * 0.44 * 120 / 3600,  # a run an hour, of two minutes
        "S3: requests": 0.0,
        "S3: a month of storage": 0.0,
        "DynamoDB: writes": 0.0,
        # Four sweeps and a recompute an hour, and the end of its run: 0.125 GB-s each.
        "Lambda": 730 * 6 * (0.2e-6 + 0.5 * 0.25 * 0.0000133334),
    }
    assert idle.pop("together") == pytest.approx(sum(expected.values()))
    assert idle == pytest.approx(expected)
    assert bill(PROD)["Kinesis"].idle_month == pytest.approx(0.04 * 730)


def test_a_million_events_at_a_thousand_a_second() -> None:
    """They take 0.27778 hours."""
    found = {part: line.per_million[1_000.0] for part, line in bill().items()}
    hours = 1e6 / 1_000 / 3600
    expected = {
        "Kinesis": 0.014 + 2 * 0.015 * hours,  # one shard would do, two stand
        "Glue: ingest_listens": 0.88 * hours,
        "Glue: batch_transform": 0.88 * hours,
        "Glue: kpi_transformation": 0.88 * hours,
        "S3: requests": 100 * 12 * 0.005 / 1000,
        "S3: a month of storage": 3 * 250e6 / 2**30 * 0.023,
        "DynamoDB: writes": 1_000 / 120 * 120 * 0.625e-6,
        "Lambda": (100 + 2 * 1_000 / 120) * (0.2e-6 + 0.125 * 0.0000133334),
    }
    assert found.pop("together") == pytest.approx(sum(expected.values()))
    assert found == pytest.approx(expected)


def test_a_stream_that_needs_more_shards_than_stand_pays_for_them() -> None:
    assert bill(rate=10_000.0)["Kinesis"].per_million[10_000.0] == pytest.approx(0.014 + 10 * 0.015 * 100 / 3600)


def test_aggregation_makes_the_stream_cheaper_and_nothing_else() -> None:
    plain, aggregated = bill(PROD), bill(PROD, workload=Workload(aggregated=True))
    differs = {part for part in plain if plain[part] != aggregated[part]}
    assert differs == {"Kinesis", "together"}
    assert aggregated["Kinesis"].per_million[1_000.0] < plain["Kinesis"].per_million[1_000.0]


def test_a_run_is_billed_for_a_minute_at_least() -> None:
    short = bill(workload=Workload(run_seconds=5.0))["Glue: kpi_transformation"].idle_month
    assert short == pytest.approx(730 * 0.88 / 60)
