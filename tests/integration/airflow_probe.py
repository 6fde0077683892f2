"""Run by Airflow's own Python: prints what it makes of the DAG, as one JSON object in the last line."""

from __future__ import annotations

import copy
import json
import os
from typing import Any

from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.exceptions import AirflowFailException

REQUESTS: dict[str, dict[str, Any]] = {
    "incremental": {},
    "recompute": {"mode": "recompute"},
    "range": {"mode": "recompute", "from_date": "2024-06-25", "to_date": "2024-06-26", "repair": True},
    "backwards": {"mode": "recompute", "from_date": "2024-06-26", "to_date": "2024-06-25"},
    "dates of an incremental run": {"from_date": "2024-06-25"},
    "repair of an incremental run": {"repair": True},
    "another mode": {"mode": "rebuild"},
    "no date": {"mode": "recompute", "from_date": "yesterday"},
    "a number": {"mode": "recompute", "to_date": 20240625},
    "no boolean": {"mode": "recompute", "repair": "yes"},
}


def answer(dag: Any, request: dict[str, Any]) -> bool | str:
    """Return what the first task says to the parameters of a run, or why they are refused."""
    params = copy.deepcopy(dag.params)
    try:
        params.update(request)
        found: bool = dag.get_task("check_request").python_callable(params=params.validate())
    except AirflowFailException as error:
        return str(error)
    except Exception as error:
        return type(error).__name__
    return found


def describe(task: Any) -> dict[str, Any]:
    """Return what bounds a task and what comes after it."""
    return {
        "type": type(task).__name__,
        "then": sorted(task.downstream_task_ids),
        "retries": task.retries,
        "delay": task.retry_delay.total_seconds(),
        "backoff": task.retry_exponential_backoff,
        "timeout": task.execution_timeout.total_seconds(),
        "alerts": [callback.__name__ for callback in task.on_failure_callback],
        "deferrable": getattr(task, "deferrable", None),
        "waits": getattr(task, "waiter_delay", 0) * getattr(task, "waiter_max_attempts", 0),
    }


def main() -> None:
    """Print it."""
    bag = DagBag(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
    found: dict[str, Any] = {"errors": list(bag.import_errors.values())}
    for dag in bag.dags.values():
        found |= {
            "dag": dag.dag_id,
            "schedule": dag.schedule,
            "catchup": dag.catchup,
            "max_active_runs": dag.max_active_runs,
            "tasks": {task.task_id: describe(task) for task in dag.tasks},
            "answers": {name: answer(dag, request) for name, request in REQUESTS.items()},
        }
    print(json.dumps(found))  # noqa: T201 - its answer


main()
