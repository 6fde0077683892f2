"""Messages and decisions, by hand-written tables."""

from __future__ import annotations

from typing import Any

import pytest

from lambdas.start_jobs.decisions import Counts, Plan, Verdict, decide_start, plan_end
from lambdas.start_jobs.messages import (
    Ask,
    Ignored,
    Message,
    Outcome,
    Request,
    RunEnded,
    Sweep,
    UnknownMessageError,
    read_message,
)

BATCH, KPI, RECOMPUTE = Request.BATCH_TRANSFORM, Request.KPI_TRANSFORMATION, Request.KPI_RECOMPUTE


def created(key: object) -> dict[str, Any]:
    return {"source": "aws.s3", "detail-type": "Object Created", "detail": {"object": {"key": key}}}


def ended(job: object, state: object) -> dict[str, Any]:
    detail = {"jobName": job, "jobRunId": "jr_1", "state": state}
    return {"source": "aws.glue", "detail-type": "Glue Job State Change", "detail": detail}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (created("processed-streams/generation=g/batch=1/_MANIFEST.json"), Ask(BATCH)),
        (created("processed-streams/by hand.parquet"), Ask(BATCH)),
        (created("processed-streams/generation=g/batch=1/attempt=a/part-0.parquet"), Ignored()),
        (created("processed-streams/generation=g/batch=1/_TRANSFORMED.json"), Ignored()),
        (created("archives/generation=g/batch=1/_MANIFEST.json"), Ignored()),
        (created("users.parquet"), Ignored()),
        (ended("batch_transform", "SUCCEEDED"), RunEnded("batch_transform", "jr_1", Outcome.SUCCEEDED)),
        (ended("kpi_transformation", "FAILED"), RunEnded("kpi_transformation", "jr_1", Outcome.FAILED)),
        (ended("kpi_transformation", "TIMEOUT"), RunEnded("kpi_transformation", "jr_1", Outcome.FAILED)),
        (ended("kpi_transformation", "ERROR"), RunEnded("kpi_transformation", "jr_1", Outcome.FAILED)),
        (ended("batch_transform", "STOPPED"), RunEnded("batch_transform", "jr_1", Outcome.STOPPED)),
        (ended("batch_transform", "STOPPING"), Ignored()),
        (ended("ingest_listens", "FAILED"), Ignored()),
        ({"request": "sweep"}, Sweep()),
        ({"request": "batch_transform"}, Ask(BATCH)),
        ({"request": "kpi_transformation"}, Ask(KPI)),
        ({"request": "kpi_recompute"}, Ask(RECOMPUTE)),
    ],
)
def test_a_message_is_understood(body: dict[str, Any], message: Message) -> None:
    assert read_message(body) == message


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "sweep",
        {},
        {"request": "everything"},
        {"request": ["sweep"]},
        {"source": "aws.s3", "detail-type": "Object Created"},
        {
            "source": "aws.s3",
            "detail-type": "Object Deleted",
            "detail": {"object": {"key": "processed-streams/a.parquet"}},
        },
        created(None),
        {"source": "aws.s3", "detail-type": "Object Created", "detail": {"object": "key"}},
        ended(None, "FAILED"),
        ended("batch_transform", 7),
        {"source": "aws.ec2", "detail-type": "Glue Job State Change", "detail": {}},
    ],
)
def test_anything_else_is_refused(body: object) -> None:
    with pytest.raises(UnknownMessageError):
        read_message(body)


@pytest.mark.parametrize(
    ("request_", "counts", "retry", "pending", "verdict"),
    [
        (BATCH, Counts(0, 0, 0), True, None, "idle"),
        (BATCH, Counts(4, 4, 9), True, True, "idle"),
        (BATCH, Counts(5, 4, 0), True, None, "look"),
        (BATCH, Counts(5, 4, 0), True, True, "start"),
        (BATCH, Counts(5, 4, 0), True, False, "settled"),
        (BATCH, Counts(5, 4, 2), True, True, "start"),
        (BATCH, Counts(5, 4, 1), False, True, "waiting"),
        (BATCH, Counts(5, 4, 0), False, True, "start"),
        (BATCH, Counts(5, 4, 3), True, None, "parked"),
        (BATCH, Counts(5, 4, 4), False, None, "parked"),
        (KPI, Counts(1, 0, 0), True, None, "start"),
        (KPI, Counts(1, 1, 0), True, None, "idle"),
        (RECOMPUTE, Counts(2, 1, 2), True, None, "start"),
        (RECOMPUTE, Counts(2, 1, 3), True, None, "parked"),
    ],
)
def test_whether_a_request_starts(
    request_: Request, counts: Counts, retry: bool, pending: bool | None, verdict: str
) -> None:
    found = decide_start(request_, counts, max_failures=3, retry=retry, pending=pending)
    assert found is Verdict(verdict)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"--wake_request": "batch_transform"},
        {"--wake_request": "batch_transform", "--wake_generation": "x"},
        {"--wake_request": "batch_transform", "--wake_generation": "-1"},
        {"--wake_request": "kpi_transformation", "--wake_generation": "3"},
    ],
)
def test_a_run_without_usable_wake_arguments_records_no_generation(arguments: dict[str, str]) -> None:
    plan = plan_end(RunEnded("batch_transform", "jr_1", Outcome.SUCCEEDED), 17.5, arguments)
    assert plan.succeeded is None
    assert plan.forgive == (BATCH,)
    assert plan.ask == ((KPI, 17.5),)
    assert plan_end(RunEnded("batch_transform", "jr_1", Outcome.FAILED), 17.5, arguments).failed is None


def test_a_run_that_its_breaker_has_stopped_parks_its_request() -> None:
    ended_run = RunEnded("batch_transform", "jr_1", Outcome.FAILED)
    arguments = {"--wake_request": "batch_transform", "--wake_generation": "3"}
    plan = plan_end(ended_run, 17.5, arguments, "BreakerError: expected at most 20.0% of the input rejected")
    assert (plan.failed, plan.park) == ((BATCH, 3), True)
    assert not plan_end(ended_run, 17.5, arguments, "BalanceError: expected 2").park
    assert plan_end(ended_run, 17.5, {}, "BreakerError: expected 0").failed is None


@pytest.mark.parametrize("outcome", list(Outcome))
def test_a_dry_run_proves_nothing_and_asks_for_nothing(outcome: Outcome) -> None:
    plan = plan_end(RunEnded("batch_transform", "jr_1", outcome), 17.5, {"--dry_run": "true"})
    assert plan == Plan(wake=(BATCH,), retry=False)


def test_a_recompute_by_hand_forgives_the_recompute_only() -> None:
    ended_run = RunEnded("kpi_transformation", "jr_1", Outcome.SUCCEEDED)
    assert plan_end(ended_run, 17.5, {"--mode": "recompute"}).forgive == (RECOMPUTE,)
    assert plan_end(ended_run, 17.5, {"--mode": "incremental"}).forgive == (KPI,)
    assert plan_end(ended_run, 17.5, {}).forgive == (KPI,)
