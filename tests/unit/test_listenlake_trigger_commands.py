"""The commands `requests` and `start` on a control table (moto) and a Lambda that answers as told."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from lakehouse.settings import Places
from lambdas.start_jobs.counters import Counters
from lambdas.start_jobs.messages import Request
from listenlake import trigger_commands
from listenlake.cli import app
from listenlake.connection import Connection
from listenlake.trigger_commands import StartError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class FakeLambda:
    """Keeps what it is asked and answers as told."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.answer: dict[str, Any] = {}

    def invoke(self, *, FunctionName: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803
        self.asked.append((FunctionName, json.loads(Payload)))
        error = {"FunctionError": "Unhandled"} if "errorType" in self.answer else {}
        return {"Payload": io.BytesIO(json.dumps(self.answer).encode()), **error}


@pytest.fixture
def start_jobs(dynamodb: DynamoDBClient, control_table: str, monkeypatch: pytest.MonkeyPatch) -> FakeLambda:
    found = FakeLambda()
    clients = {"dynamodb": dynamodb, "lambda": found}
    places = Places.with_prefix("t", control_table=control_table)
    monkeypatch.setattr(trigger_commands, "connect", lambda _: Connection(clients.__getitem__, places, is_local=True))
    return found


def test_a_request_that_failed_three_times_in_a_row_is_shown_as_parked(
    start_jobs: FakeLambda, dynamodb: DynamoDBClient, control_table: str
) -> None:
    counters = Counters(dynamodb, control_table)
    for request in (Request.BATCH_TRANSFORM, Request.KPI_TRANSFORMATION):
        counters.ask(request)
    for run_id in ("jr_1", "jr_2", "jr_3"):
        counters.fail(Request.BATCH_TRANSFORM, 1, run_id=run_id)
    shown = CliRunner().invoke(app, ["requests", "--json"])
    assert json.loads(shown.stdout)["requests"] == [
        {"request": "batch_transform", "state": "parked", "requested": 1, "succeeded": 0, "failures": 3},
        {"request": "kpi_transformation", "state": "outstanding", "requested": 1, "succeeded": 0, "failures": 0},
        {"request": "kpi_recompute", "state": "done", "requested": 0, "succeeded": 0, "failures": 0},
    ]
    assert "listenlake start REQUEST" in CliRunner().invoke(app, ["requests"]).stdout


def test_nothing_parked_gives_no_advice(start_jobs: FakeLambda) -> None:
    shown = CliRunner().invoke(app, ["requests"])
    assert shown.exit_code == 0
    assert "listenlake start" not in shown.stdout


def test_a_start_asks_the_lambda_and_says_what_happened(start_jobs: FakeLambda) -> None:
    start_jobs.answer = {"kpi_recompute": {"outcome": "started", "run_id": "jr_7"}}
    shown = CliRunner().invoke(app, ["start", "kpi_recompute"])
    assert start_jobs.asked == [("start_jobs", {"request": "kpi_recompute"})]
    assert shown.stdout == "kpi_recompute: started jr_7\n"


def test_a_lambda_that_fails_fails_the_command(start_jobs: FakeLambda) -> None:
    start_jobs.answer = {"errorType": "SettingsError", "errorMessage": "…"}
    shown = CliRunner().invoke(app, ["start", "batch_transform"])
    assert isinstance(shown.exception, StartError)
    assert "SettingsError" in str(shown.exception)


def test_a_request_that_nobody_knows_is_wrong_use(start_jobs: FakeLambda) -> None:
    assert CliRunner().invoke(app, ["start", "everything"]).exit_code == 2
    assert start_jobs.asked == []
