"""Load tests as real processes: aggregates through the whole pipeline, and a watched delivery under trouble."""

from __future__ import annotations

import json
from typing import Any

import pytest

from listenlake.connection import Connection
from listenlake.demo import DemoSettings, run_demo
from local_cloud.cloud import Cloud
from tests.e2e.test_commands import BIN, run


@pytest.fixture(scope="module")
def aggregated(cloud: Cloud, connection: Connection) -> dict[str, Any]:
    """A demo whose events share records; the stream is still empty."""
    settings = DemoSettings(events=12_000, rate=3_000.0, aggregate=True)
    result = run_demo(connection, settings, cloud.state / "demo", lambda _line: None)
    return result.to_json() | {"delivery": result.manifest.delivery, "records": result.manifest.truth.records}


def test_aggregates_end_in_equality_with_the_truth(aggregated: dict[str, Any]) -> None:
    assert aggregated["equal"], aggregated["differences"]
    assert aggregated["rejects_found"] == aggregated["rejects_expected"] > 100
    lines = aggregated["records"]["line"].to_pylist()
    assert max(lines) > 20
    assert sum(line == 1 for line in lines) < len(lines) / 3


@pytest.mark.usefixtures("aggregated")
def test_a_watched_delivery_under_trouble_is_seen_whole(cloud: Cloud) -> None:
    options = ["--workers", "2", "--aggregate", "--chaos", "throttle=5%,partial=2%,timeout=2%,outage=2s@3s"]
    asked = ["--rate", "2000", "--duration", "8s", "--watch", "--json", "--state", str(cloud.state)]
    ended = run(BIN / "listenlake", "produce", *asked, *options)
    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout)
    totals, watch = report["totals"], report["watch"]
    assert totals["acknowledged"] == totals["sent"] == totals["made"] == 16_000
    assert watch["verdict"] == "complete: 16,000 of 16,000 acknowledged events seen, duplicates as injected"
    assert watch["duplicates_found"] == watch["duplicates_injected"] > 100
    assert all(minute["equal"] for minute in watch["minutes"])
    refused = sum(totals["retried"].values())
    assert refused > 0
    assert report["chaos"]["refused_in_outage"] > 0
    assert report["chaos"]["calls"] == totals["calls"]
    assert totals["unanswered"] == report["chaos"]["timeouts"] + report["chaos"]["refused_in_outage"]
    page = (cloud.state / "producer" / "report.html").read_text(encoding="utf-8")
    assert watch["verdict"] in page
