"""The runner with drivers that end when the test says so."""

import queue
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from local_cloud.glue_api import GlueApi
from local_cloud.glue_errors import (
    ConcurrentRunsExceededError,
    EntityNotFoundError,
    GlueUnavailableError,
    InvalidInputError,
)
from local_cloud.glue_runner import GlueRunner
from local_cloud.glue_runs import JobRun, RunState

DEADLINE_SECONDS = 10
JOB: dict[str, Any] = {"Name": "batch_transform", "MaxRetries": 0, "Timeout": 60}


class FakeDriver:
    """A driver that runs until it is ended or stopped."""

    def __init__(self) -> None:
        self.exit_code: int | None = None
        self.grace: float | None = None
        self._over = threading.Event()

    def end(self, exit_code: int) -> None:
        self.exit_code = exit_code
        self._over.set()

    def stop(self, grace: float) -> None:
        self.grace = grace
        self.end(143)

    def wait(self, timeout: float | None = None) -> int:
        if not self._over.wait(timeout):
            raise subprocess.TimeoutExpired("driver", timeout or 0)
        assert self.exit_code is not None
        return self.exit_code


class FakeLauncher:
    """Hands the drivers that it starts to the test."""

    def __init__(self) -> None:
        self.started: queue.Queue[FakeDriver] = queue.Queue()
        self.error: Exception | None = None

    def launch(self, run: JobRun, definition: Mapping[str, Any]) -> FakeDriver:
        if self.error is not None:
            raise self.error
        assert definition["Name"] == run.job_name
        Path(run.log).parent.mkdir(parents=True, exist_ok=True)
        Path(run.log).write_text("ValueError: no songs\n")
        driver = FakeDriver()
        self.started.put(driver)
        return driver

    def next(self) -> FakeDriver:
        return self.started.get(timeout=DEADLINE_SECONDS)


@pytest.fixture
def launcher() -> FakeLauncher:
    return FakeLauncher()


@pytest.fixture
def announced() -> queue.Queue[JobRun]:
    return queue.Queue()


@pytest.fixture
def runner(launcher: FakeLauncher, announced: queue.Queue[JobRun], tmp_path: Path) -> GlueRunner:
    return GlueRunner(launcher=launcher, announce=announced.put, runs=tmp_path, stop_grace=1, minute=0.2)


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true within {DEADLINE_SECONDS} s"
        time.sleep(0.01)


def test_a_finished_run_frees_its_slot_before_it_is_announced(
    runner: GlueRunner, launcher: FakeLauncher, announced: queue.Queue[JobRun]
) -> None:
    run = runner.start(JOB, {})
    with pytest.raises(ConcurrentRunsExceededError):
        runner.start(JOB, {})
    launcher.next().end(0)
    assert announced.get(timeout=DEADLINE_SECONDS) is run
    assert run.state is RunState.SUCCEEDED
    runner.start(JOB, {})
    launcher.next().end(0)
    assert announced.get(timeout=DEADLINE_SECONDS).state is RunState.SUCCEEDED


def test_as_many_runs_as_the_job_allows(runner: GlueRunner, launcher: FakeLauncher) -> None:
    job = JOB | {"ExecutionProperty": {"MaxConcurrentRuns": 2}}
    drivers = [(runner.start(job, {}), launcher.next())[1] for _ in range(2)]
    with pytest.raises(ConcurrentRunsExceededError):
        runner.start(job, {})
    other = runner.start(JOB | {"Name": "kpi_transformation"}, {})  # another job has slots of its own
    for driver in [*drivers, launcher.next()]:
        driver.end(0)
    wait_until(lambda: other.state.is_terminal, "the end of the run")


def test_a_retry_keeps_the_slot_and_ends_with_the_last_attempt(
    runner: GlueRunner, launcher: FakeLauncher, announced: queue.Queue[JobRun]
) -> None:
    first = runner.start(JOB | {"MaxRetries": 2}, {"--step": "all"})
    launcher.next().end(1)
    assert announced.get(timeout=DEADLINE_SECONDS).error_message == "ValueError: no songs"
    with pytest.raises(ConcurrentRunsExceededError):
        runner.start(JOB, {})
    launcher.next().end(137)
    assert announced.get(timeout=DEADLINE_SECONDS).attempt == 1
    launcher.next().end(0)
    last = announced.get(timeout=DEADLINE_SECONDS)
    assert (last.attempt, last.state, last.arguments) == (2, RunState.SUCCEEDED, {"--step": "all"})
    assert [run.attempt for run in runner.history("batch_transform")] == [2, 1, 0]
    assert first.state is RunState.FAILED


def test_a_run_that_takes_too_long_is_stopped(
    runner: GlueRunner, launcher: FakeLauncher, announced: queue.Queue[JobRun]
) -> None:
    run = runner.start(JOB | {"MaxRetries": 1}, {}, timeout=1)
    driver = launcher.next()
    assert announced.get(timeout=DEADLINE_SECONDS) is run
    assert driver.grace == 1
    assert (run.state, run.error_message) == (RunState.TIMEOUT, "Job run timed out after 1 minutes")
    assert len(runner.history("batch_transform")) == 1  # Glue retries failures only


def test_a_stopped_run_is_not_retried(
    runner: GlueRunner, launcher: FakeLauncher, announced: queue.Queue[JobRun]
) -> None:
    run = runner.start(JOB | {"MaxRetries": 3}, {})
    driver = launcher.next()
    runner.stop("batch_transform", run.id)
    assert announced.get(timeout=DEADLINE_SECONDS) is run
    assert driver.grace == 1
    assert run.state is RunState.STOPPED
    with pytest.raises(EntityNotFoundError, match="STOPPED"):
        runner.stop("batch_transform", run.id)


def test_code_that_can_not_be_fetched_fails_the_run(
    runner: GlueRunner, launcher: FakeLauncher, announced: queue.Queue[JobRun]
) -> None:
    launcher.error = FileNotFoundError("s3://nowhere/job.py")
    run = runner.start(JOB, {})
    assert announced.get(timeout=DEADLINE_SECONDS) is run
    assert (run.state, run.error_message) == (RunState.FAILED, "FileNotFoundError: s3://nowhere/job.py")


def test_shutdown_stops_what_lives_and_refuses_the_rest(
    runner: GlueRunner, launcher: FakeLauncher, announced: queue.Queue[JobRun]
) -> None:
    run = runner.start(JOB | {"MaxRetries": 3}, {})
    launcher.next()
    runner.shutdown(1)
    assert run.state is RunState.STOPPED
    assert announced.empty()
    with pytest.raises(GlueUnavailableError):
        runner.start(JOB, {})


def test_history_outlives_the_runner(runner: GlueRunner, launcher: FakeLauncher, tmp_path: Path) -> None:
    run = runner.start(JOB, {"--step": "all"})
    launcher.next().end(0)
    wait_until(lambda: run.state.is_terminal, "the end of the run")
    again = GlueRunner(launcher=launcher, announce=lambda _run: None, runs=tmp_path)
    assert again.get("batch_transform", run.id) == run
    with pytest.raises(EntityNotFoundError):
        again.get("kpi_transformation", run.id)


def test_pages_of_runs(runner: GlueRunner, launcher: FakeLauncher) -> None:
    api = GlueApi(runner, lambda _name: JOB)
    ids = []
    for _ in range(3):
        ids.append(api.start_job_run({"JobName": "batch_transform"})["JobRunId"])
        launcher.next().end(0)
        wait_until(lambda: runner.get("batch_transform", ids[-1]).state.is_terminal, "the end of the run")
    first = api.get_job_runs({"JobName": "batch_transform", "MaxResults": 2})
    second = api.get_job_runs({"JobName": "batch_transform", "MaxResults": 2, "NextToken": first["NextToken"]})
    assert [run["Id"] for run in first["JobRuns"] + second["JobRuns"]] == ids[::-1]
    assert "NextToken" not in second


@pytest.mark.parametrize("request_", [{}, {"JobName": ""}, {"JobName": "x", "Arguments": {"--a": ""}}])
def test_requests_that_make_no_sense(runner: GlueRunner, request_: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        GlueApi(runner, lambda _name: JOB).start_job_run(request_)
