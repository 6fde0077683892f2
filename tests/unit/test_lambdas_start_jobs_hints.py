"""What makes the Lambda start a job: hints of new batches, and sweeps for those whose hint was lost."""

from __future__ import annotations

from dataclasses import replace

from lakehouse import layout
from lambdas.start_jobs.decisions import Counts
from lambdas.start_jobs.messages import Ask
from tests.unit.start_jobs_pipeline import BATCH, KPI_JOB, TRANSFORM_JOB, Pipeline


def test_a_hint_starts_batch_transform_with_its_generation(pipeline: Pipeline) -> None:
    assert pipeline.send(pipeline.put_batch()) == []
    (run,) = pipeline.glue.runs.values()
    assert run["JobName"] == "batch_transform"
    assert run["Arguments"] == {"--wake_request": "batch_transform", "--wake_generation": "1"}
    assert pipeline.counts(BATCH) == Counts(requested=1, succeeded=0)


def test_many_hints_of_one_batch_of_messages_count_once(pipeline: Pipeline) -> None:
    assert pipeline.send(*(pipeline.put_batch(number) for number in range(10))) == []
    assert pipeline.counts(BATCH).requested == 1
    assert pipeline.started(TRANSFORM_JOB) == ["1"]


def test_a_hint_whose_file_is_gone_settles_and_lets_the_kpis_look(pipeline: Pipeline) -> None:
    hint = pipeline.put_batch()
    pipeline.consume()
    assert pipeline.send(hint) == []
    assert pipeline.counts(BATCH) == Counts(requested=1, succeeded=1)
    assert pipeline.started(TRANSFORM_JOB) == []
    assert pipeline.started(KPI_JOB) == ["1"]


def test_a_hint_during_a_run_is_remembered_until_the_run_ends(pipeline: Pipeline) -> None:
    pipeline.send(pipeline.put_batch(1))
    assert pipeline.send(pipeline.put_batch(2)) == []
    assert pipeline.started(TRANSFORM_JOB) == ["1"]
    assert pipeline.send(pipeline.end("jr_1")) == []
    assert pipeline.started(TRANSFORM_JOB) == ["1", "2"]
    assert pipeline.counts(BATCH) == Counts(requested=2, succeeded=1)


def test_more_than_a_page_of_files_of_attempts_hides_no_batch(pipeline: Pipeline) -> None:
    for number in range(1_005):
        key = f"{layout.PROCESSED}generation=a/batch=0/attempt=x/part-{number:05}.parquet"
        pipeline.s3.put_object(Bucket=pipeline.bucket, Key=key, Body=b"")
    pipeline.send({"request": "sweep"})
    assert pipeline.started(TRANSFORM_JOB) == []
    pipeline.put_batch()
    pipeline.send({"request": "sweep"})
    assert pipeline.started(TRANSFORM_JOB) == ["1"]


def test_events_that_ask_for_nothing_are_acknowledged(pipeline: Pipeline) -> None:
    hint = pipeline.put_batch()
    hint["detail"]["object"]["key"] = f"{layout.PROCESSED}generation=g/batch=1/attempt=a/part-0.parquet"
    detail = {"jobName": layout.INGEST_JOB, "jobRunId": "jr_9", "state": "FAILED"}
    assert pipeline.send(hint, {"source": "aws.glue", "detail-type": "Glue Job State Change", "detail": detail}) == []
    assert pipeline.counts(BATCH) == Counts()


def test_a_file_that_arrives_during_the_look_stays_outstanding(pipeline: Pipeline) -> None:
    """An empty look settles what was asked for before it, not what was asked for meanwhile."""
    trigger = pipeline.trigger()

    def look_while_a_hint_comes() -> bool:
        trigger.counters.ask(BATCH)
        return False

    replace(trigger, has_pending=look_while_a_hint_comes).handle(Ask(BATCH))
    assert pipeline.counts(BATCH) == Counts(requested=2, succeeded=1)


def test_a_sweep_finds_a_batch_whose_hint_was_lost(pipeline: Pipeline) -> None:
    pipeline.put_batch()
    assert pipeline.send({"request": "sweep"}) == []
    assert pipeline.started(TRANSFORM_JOB) == ["1"]


def test_a_sweep_repairs_a_lost_end(pipeline: Pipeline) -> None:
    pipeline.send(pipeline.put_batch())
    pipeline.consume()
    pipeline.end("jr_1")
    pipeline.send({"request": "sweep"})
    assert pipeline.counts(BATCH) == Counts(requested=1, succeeded=1)
    assert pipeline.started(KPI_JOB) == ["1"]


def test_a_sweep_of_a_quiet_pipeline_starts_nothing(pipeline: Pipeline) -> None:
    idle = {"outcome": "idle"}
    assert pipeline.ask("sweep") == {"batch_transform": idle, "kpi_transformation": idle, "kpi_recompute": idle}
    assert pipeline.counts(BATCH) == Counts()
