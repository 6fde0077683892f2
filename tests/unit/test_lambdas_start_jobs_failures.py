"""Runs that fail, stop or are parked: counted once, tried again by the sweep, and left to an operator in the end."""

from __future__ import annotations

import logging

import pytest

from lambdas.start_jobs.decisions import Counts
from tests.unit.start_jobs_pipeline import BATCH, KPI_JOB, TRANSFORM_JOB, Pipeline, park


@pytest.mark.parametrize("state", ["FAILED", "TIMEOUT", "ERROR"])
def test_a_failure_counts_once_and_waits_for_the_sweep(pipeline: Pipeline, state: str) -> None:
    pipeline.send(pipeline.put_batch())
    event = pipeline.end("jr_1", state)
    for _ in range(2):
        assert pipeline.send(event) == []
        assert pipeline.counts(BATCH) == Counts(requested=1, succeeded=0, failures=1)
    assert len(pipeline.glue.runs) == 1
    pipeline.send({"request": "sweep"})
    assert pipeline.started(TRANSFORM_JOB) == ["1", "1"]
    pipeline.consume()
    pipeline.send(pipeline.end("jr_2"))
    assert pipeline.counts(BATCH) == Counts(requested=1, succeeded=1, failures=0)
    pipeline.send(event)
    assert pipeline.counts(BATCH).failures == 0


def test_new_data_starts_a_request_that_has_failed_but_is_not_parked(pipeline: Pipeline) -> None:
    pipeline.send(pipeline.put_batch(1))
    pipeline.send(pipeline.end("jr_1", "FAILED"))
    pipeline.send(pipeline.put_batch(2))
    assert pipeline.started(TRANSFORM_JOB) == ["1", "2"]


def test_a_request_is_parked_after_three_failures_until_an_operator_asks(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    park(pipeline)
    parked = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(parked) == 2  # at the third failure, and in the sweep after it
    assert all("parked" in record.getMessage() for record in parked)
    assert pipeline.send(pipeline.put_batch(2)) == []
    assert len(pipeline.glue.runs) == 3
    assert pipeline.counts(BATCH) == Counts(requested=2, succeeded=0, failures=3)
    assert pipeline.ask("sweep")["batch_transform"] == {"outcome": "parked"}
    assert pipeline.ask("batch_transform") == {"batch_transform": {"outcome": "started", "run_id": "jr_4"}}
    assert pipeline.counts(BATCH) == Counts(requested=3, succeeded=0, failures=0)
    late_duplicate = pipeline.end("jr_3", "FAILED")
    pipeline.send(late_duplicate)
    assert pipeline.counts(BATCH).failures == 0


def test_a_run_that_its_breaker_has_stopped_is_parked_at_once_until_a_run_by_hand_succeeds(pipeline: Pipeline) -> None:
    pipeline.send(pipeline.put_batch(1))
    pipeline.glue.runs["jr_1"]["ErrorMessage"] = "BreakerError: expected at most 20.0% of the input rejected; found …"
    stopped = pipeline.end("jr_1", "FAILED")
    pipeline.send(stopped)
    pipeline.send(stopped, pipeline.put_batch(2))
    assert pipeline.ask("sweep")["batch_transform"] == {"outcome": "parked"}
    assert pipeline.counts(BATCH) == Counts(requested=2, succeeded=0, failures=3)
    assert pipeline.started(TRANSFORM_JOB) == ["1"]
    by_hand = pipeline.glue.start_job_run(JobName=TRANSFORM_JOB, Arguments={"--breaker_rate": "0.9"})["JobRunId"]
    pipeline.consume()
    pipeline.send(pipeline.end(by_hand))
    assert pipeline.counts(BATCH) == Counts(requested=2, succeeded=2, failures=0)
    assert pipeline.started(KPI_JOB)


def test_a_stopped_run_is_no_failure_and_waits_for_the_sweep(pipeline: Pipeline) -> None:
    pipeline.send(pipeline.put_batch())
    assert pipeline.send(pipeline.end("jr_1", "STOPPED")) == []
    assert pipeline.counts(BATCH) == Counts(requested=1, succeeded=0, failures=0)
    assert len(pipeline.glue.runs) == 1
    pipeline.send({"request": "sweep"})
    assert pipeline.started(TRANSFORM_JOB) == ["1", "1"]


def test_a_failure_lets_the_other_request_of_its_job_go_on(pipeline: Pipeline) -> None:
    pipeline.ask("kpi_transformation")
    pipeline.send({"request": "kpi_recompute"})
    pipeline.send(pipeline.end("jr_1", "FAILED"))
    assert pipeline.glue.runs["jr_2"]["Arguments"]["--wake_request"] == "kpi_recompute"
    pipeline.send(pipeline.end("jr_2", "FAILED"))
    assert len(pipeline.glue.runs) == 2  # both have failed: neither restarts the other
