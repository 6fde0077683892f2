"""Airflow in an environment of its own: no server, metadata in SQLite, each run of the DAG in one process."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lakehouse.dag_settings import DagSettings
from local_cloud.environment import base_environment, host_environment
from local_cloud.processes import GuardedProcess, find_left, start_guarded
from local_cloud.state import PROJECT

BIN: Final = PROJECT / ".tools" / "airflow" / "bin"
DEAD_PROXY: Final = "http://127.0.0.1:9"


@dataclass(frozen=True)
class DagRun:
    """How a run of the DAG ended.

    Attributes:
        state: Of the run.
        tasks: State and number of tries of each task.
        log: Everything that was printed.
    """

    state: str
    tasks: dict[str, tuple[str, int]]
    log: str

    @property
    def states(self) -> dict[str, str]:
        """State of each task."""
        return {task: state for task, (state, _) in self.tasks.items()}


class StartedDagRun:
    """A run of the DAG that may be under way."""

    def __init__(self, process: GuardedProcess, folder: Path, log: Path) -> None:
        self._process = process
        self._folder = folder
        self._log = log

    @property
    def log(self) -> str:
        """What was printed so far."""
        return self._log.read_text() if self._log.exists() else ""

    def wait(self, seconds: float) -> DagRun:
        """Wait for the end, and see that no process is left."""
        try:
            code = self._process.wait(seconds)
        finally:
            self.close()
        with closing(sqlite3.connect(self._folder / "airflow.db")) as database:
            run_id, state = database.execute("SELECT run_id, state FROM dag_run ORDER BY id DESC LIMIT 1").fetchone()
            rows = database.execute(
                "SELECT task_id, state, try_number FROM task_instance WHERE run_id = ?", [run_id]
            ).fetchall()
        assert (code == 0) == (state == "success"), self.log[-5000:]
        assert find_left(self._folder) == []
        return DagRun(state, {task: (task_state, tries) for task, task_state, tries in rows}, self.log)

    def close(self) -> None:
        """End it, if it has not ended, and let go of it."""
        if self._process.poll() is None:
            self._process.stop(1.0)
        self._process.wait(30)


class Airflow:
    """One installation: a folder for its home and its metadata."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        """Prepare it.

        Args:
            folder: Its home, empty.
            environment: What names the cloud and its places.
        """
        assert (BIN / "airflow").exists(), f"expected Airflow in {BIN}; found none; `make test` sets it up"
        self._folder = folder
        self._environment = {
            **base_environment(host_environment()),
            **environment,
            "AIRFLOW_HOME": str(folder),
            "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "false",
            # Whatever leaves this machine fails.
            "HTTP_PROXY": DEAD_PROXY,
            "HTTPS_PROXY": DEAD_PROXY,
            "NO_PROXY": "127.0.0.1,localhost",
            "PYTHONPATH": str(PROJECT),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self._runs = 0

    def migrate(self) -> None:
        """Make the tables of the metadata."""
        log = self._folder / "migrate.log"
        assert self._start([BIN / "airflow", "db", "migrate"], {}, log).wait(120) == 0, log.read_text()[-3000:]

    def run_python(self, script: Path, **settings: str) -> Any:
        """Run a script that prints one JSON value as its last line, and return the value."""
        log = self._folder / "python.log"
        log.unlink(missing_ok=True)
        assert self._start([BIN / "python", script], settings, log).wait(120) == 0, log.read_text()[-3000:]
        return json.loads(log.read_text().splitlines()[-1])

    def start_dag(self, parameters: Mapping[str, Any], **settings: str) -> StartedDagRun:
        """Start a run of the DAG, quick to look and to try again.

        Args:
            parameters: Of the run.
            settings: Variables without their prefix `LISTENLAKE_`.
        """
        self._runs += 1
        log = self._folder / f"run-{self._runs}.log"
        command: list[str | Path] = [
            BIN / "airflow",
            "dags",
            "test",
            DagSettings.program,
            "--conf",
            json.dumps(parameters),
        ]
        quick = {"look_seconds": "2", "retry_seconds": "1", "task_retries": "1"}
        return StartedDagRun(self._start(command, quick | settings, log), self._folder, log)

    def run_dag(self, parameters: Mapping[str, Any], *, seconds: float = 120, **settings: str) -> DagRun:
        """Run the DAG to its end."""
        return self.start_dag(parameters, **settings).wait(seconds)

    def _start(self, command: Sequence[str | Path], settings: Mapping[str, str], log: Path) -> GuardedProcess:
        named = {f"LISTENLAKE_{name.upper()}": value for name, value in settings.items()}
        environment = self._environment | named
        return start_guarded(command, environment=environment, state=self._folder, log=log, cwd=self._folder)
