"""kill -9 of each job in the middle of the demo, at a commit boundary each, still ends in equality with the truth."""

from __future__ import annotations

import pytest

from lakehouse import layout
from listenlake.connection import Connection
from listenlake.demo import DemoSettings, run_demo
from listenlake.served import read_served
from local_cloud.cloud import Cloud
from tests.e2e.sabotage import Saboteur
from tests.e2e.waiting import start_when_free, wait_until_run_ends

BOUNDARIES = {
    layout.INGEST_JOB: "manifest_written",
    layout.TRANSFORM_JOB: "merged",
    layout.KPI_JOB: "daily_listens_committed",
}


@pytest.mark.timeout(1500)
def test_killed_jobs_end_in_equality_with_the_truth(cloud: Cloud, connection: Connection) -> None:
    saboteur = Saboteur(cloud.client("glue"), BOUNDARIES)
    told: list[str] = []
    with saboteur.at_work():
        settings = DemoSettings(events=8_000, seed=7, rate=400.0, timeout_seconds=900)
        result = run_demo(connection, settings, cloud.state / "demo", told.append)
    assert all(saboteur.deaths.values()), f"each job must have died at its boundary: {saboteur.deaths}"
    assert result.comparison.differences == ()
    assert result.is_equal
    assert result.comparison.items_compared > 100
    assert result.comparison.rejects_expected > 50


def test_a_run_without_new_input_changes_nothing(cloud: Cloud, connection: Connection) -> None:
    before = read_served(connection.client("dynamodb"), connection.places)
    glue = connection.client("glue")
    for job, arguments in ((layout.TRANSFORM_JOB, dict[str, str]()), (layout.KPI_JOB, {"--mode": "recompute"})):
        run_id = start_when_free(glue, job, arguments)
        assert wait_until_run_ends(glue, job, run_id) == "SUCCEEDED"
    assert read_served(connection.client("dynamodb"), connection.places) == before
