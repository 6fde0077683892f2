"""What the Lambda does when a run ends: record the success, lead on to the next job, wait for a free slot."""

from __future__ import annotations

import pytest

from lambdas.start_jobs.counters import Counters
from lambdas.start_jobs.decisions import Counts
from tests.unit.start_jobs_pipeline import BATCH, KPI, KPI_JOB, RECOMPUTE, TRANSFORM_JOB, Pipeline, park


def test_success_is_recorded_and_leads_to_the_kpis_once(pipeline: Pipeline) -> None:
    pipeline.send(pipeline.put_batch())
    pipeline.consume()
    event = pipeline.end("jr_1")
    assert pipeline.send(event) == []
    assert pipeline.send(event) == []
    assert pipeline.counts(BATCH) == Counts(requested=1, succeeded=1)
    assert pipeline.counts(KPI) == Counts(requested=1)
    (kpi_run,) = (run for run in pipeline.glue.runs.values() if run["JobName"] == KPI_JOB)
    assert kpi_run["Arguments"] == {
        "--mode": "incremental",
        "--wake_request": "kpi_transformation",
        "--wake_generation": "1",
    }
    assert pipeline.send(pipeline.end(kpi_run["Id"])) == []
    assert pipeline.counts(KPI) == Counts(requested=1, succeeded=1)
    assert len(pipeline.glue.runs) == 2


def test_an_older_success_that_comes_late_moves_nothing_back(pipeline: Pipeline) -> None:
    pipeline.send(pipeline.put_batch(1))
    late = pipeline.end("jr_1")
    pipeline.send(pipeline.put_batch(2))
    pipeline.consume()
    pipeline.send(pipeline.end("jr_2"))
    assert pipeline.counts(BATCH) == Counts(requested=2, succeeded=2)
    pipeline.send(late)
    assert pipeline.counts(BATCH) == Counts(requested=2, succeeded=2)


def test_a_generation_that_nobody_asked_for_is_not_recorded(pipeline: Pipeline) -> None:
    arguments = {"--wake_request": "batch_transform", "--wake_generation": "99"}
    run_id = pipeline.glue.start_job_run(JobName=TRANSFORM_JOB, Arguments=arguments)["JobRunId"]
    pipeline.send(pipeline.end(run_id))
    assert pipeline.counts(BATCH).succeeded == 0
    pipeline.send(pipeline.put_batch())
    assert pipeline.started(TRANSFORM_JOB) == ["99", "1"]


def test_a_run_by_hand_that_succeeds_leads_to_the_kpis_and_ends_the_failures(pipeline: Pipeline) -> None:
    park(pipeline)
    arguments = {"--step": "all"}
    run_id = pipeline.glue.start_job_run(JobName=TRANSFORM_JOB, Arguments=arguments)["JobRunId"]
    pipeline.consume()
    assert pipeline.send(pipeline.end(run_id)) == []
    assert pipeline.counts(BATCH).failures == 0
    assert pipeline.counts(BATCH).succeeded == pipeline.counts(BATCH).requested
    assert pipeline.started(KPI_JOB) == ["1"]


def test_a_run_by_hand_that_fails_counts_for_nobody(pipeline: Pipeline) -> None:
    run_id = pipeline.glue.start_job_run(JobName=KPI_JOB, Arguments={"--mode": "recompute"})["JobRunId"]
    pipeline.ask("kpi_transformation")
    assert pipeline.send(pipeline.end(run_id, "FAILED")) == []
    assert pipeline.counts(RECOMPUTE).failures == 0
    assert pipeline.glue.runs["jr_2"]["Arguments"]["--wake_request"] == "kpi_transformation"


def test_a_busy_request_does_not_starve_the_other_one_of_its_job(pipeline: Pipeline) -> None:
    pipeline.ask("kpi_transformation")
    assert pipeline.send({"request": "kpi_recompute"}, {"request": "kpi_transformation"}) == []
    assert len(pipeline.glue.runs) == 1
    assert pipeline.send(pipeline.end("jr_1")) == []
    recompute = pipeline.glue.runs["jr_2"]["Arguments"]
    assert recompute == {"--mode": "recompute", "--wake_request": "kpi_recompute", "--wake_generation": "1"}
    assert pipeline.send(pipeline.end("jr_2")) == []
    assert pipeline.counts(RECOMPUTE) == Counts(1, 1)
    assert pipeline.glue.runs["jr_3"]["Arguments"]["--wake_request"] == "kpi_transformation"


@pytest.mark.parametrize("message", ["end", "hint"])
def test_a_slot_that_is_not_free_yet_brings_the_message_back(pipeline: Pipeline, message: str) -> None:
    pipeline.send(pipeline.put_batch(1))
    pipeline.send(hint := pipeline.put_batch(2))
    pipeline.glue.freeing.add(TRANSFORM_JOB)
    event = pipeline.end("jr_1")
    assert pipeline.send(event) == ["0"]
    body = event if message == "end" else hint
    assert pipeline.send(body) == ["0"]
    pipeline.glue.freeing.clear()
    assert pipeline.send(body) == []
    assert len(pipeline.started(TRANSFORM_JOB)) == 2
    assert pipeline.counts(KPI).requested == 1


def test_a_run_that_is_still_listed_as_alive_after_its_end_is_no_reason_to_wait_for_it(pipeline: Pipeline) -> None:
    pipeline.send(pipeline.put_batch(1))
    pipeline.send(pipeline.put_batch(2))
    event = pipeline.end("jr_1")
    pipeline.glue.runs["jr_1"]["JobRunState"] = "RUNNING"
    assert pipeline.send(event) == ["0"]


def test_an_end_is_acknowledged_when_another_run_is_alive(pipeline: Pipeline) -> None:
    pipeline.send(pipeline.put_batch(1))
    event = pipeline.end("jr_1")
    pipeline.send(pipeline.put_batch(2))
    assert pipeline.glue.alive(TRANSFORM_JOB) == ["jr_2"]
    assert pipeline.send(event) == []


@pytest.mark.parametrize("state", ["SUCCEEDED", "lost"])
def test_the_kpis_are_asked_for_before_a_success_is_recorded(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """So that a crash between the two leaves the success outstanding, and the sweep asks again."""
    pipeline.send(pipeline.put_batch())
    pipeline.consume()
    event = pipeline.end("jr_1")

    def crash(*_arguments: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(Counters, "succeed", crash)
    assert pipeline.send(event if state == "SUCCEEDED" else {"request": "sweep"}) == ["0"]
    assert pipeline.counts(BATCH) == Counts(requested=1, succeeded=0)
    assert pipeline.counts(KPI).requested == 1
