"""The DAG as Airflow reads it: its chain, what bounds each task, and which parameters it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lakehouse.settings import Places
from tests.airflow_runs import Airflow

PROBE = Path(__file__).with_name("airflow_probe.py")
CHAIN = ["check_request", "dimension_files", "batches", "batch_transform", "kpi_transformation", "audit"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("airflow")


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, Any]:
    settings = {"task_retries": "4", "retry_seconds": "90", "job_timeout_seconds": "1000", "look_seconds": "20"}
    settings |= {"dag_schedule": "0 5 * * *"}
    answer: dict[str, Any] = Airflow(folder, Places.with_prefix("t").to_environment()).run_python(PROBE, **settings)
    return answer


def test_the_dag_is_one_chain_and_one_run_at_a_time(found: dict[str, Any]) -> None:
    assert found["errors"] == []
    assert {name: found[name] for name in ("dag", "schedule", "catchup", "max_active_runs")} == {
        "dag": "music_streaming_pipeline",
        "schedule": "0 5 * * *",
        "catchup": False,
        "max_active_runs": 1,
    }
    following = {task: facts["then"] for task, facts in found["tasks"].items()}
    assert following == {task: CHAIN[place + 1 : place + 2] for place, task in enumerate(CHAIN)}


def test_every_task_is_bounded_retried_and_alerts(found: dict[str, Any]) -> None:
    for task, facts in found["tasks"].items():
        told = (facts["retries"], facts["delay"], facts["backoff"], facts["alerts"])
        assert told == (4, 90, 2, ["alert"]), task
        assert 0 < facts["timeout"] <= 3600, task
    jobs = [found["tasks"][job] for job in ("batch_transform", "kpi_transformation")]
    assert [(job["deferrable"], job["waits"]) for job in jobs] == [(True, 1000)] * 2
    assert found["tasks"]["dimension_files"]["deferrable"]


@pytest.mark.parametrize(
    ("request_name", "expected"),
    [
        ("incremental", True),
        ("recompute", False),
        ("range", False),
        ("backwards", "expected from_date up to to_date; found 2024-06-26 after 2024-06-25. Swap them."),
        ("dates of an incremental run", "expected mode recompute; found from_date, to_date or repair"),
        ("repair of an incremental run", "expected mode recompute; found from_date, to_date or repair"),
        ("another mode", "ParamValidationError"),
        ("no date", "ParamValidationError"),
        ("a number", "ParamValidationError"),
        ("no boolean", "ParamValidationError"),
    ],
)
def test_parameters_are_checked(found: dict[str, Any], request_name: str, expected: bool | str) -> None:
    answer = found["answers"][request_name]
    if isinstance(expected, str):
        assert str(answer).startswith(expected)
    else:
        assert answer is expected


def test_a_missing_name_is_said_clearly(folder: Path) -> None:
    (error,) = Airflow(folder, {}).run_python(PROBE)["errors"]
    assert "expected --raw_bucket or the variable LISTENLAKE_RAW_BUCKET" in error
