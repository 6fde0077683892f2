"""Runs Glue jobs for real: one thread per run, one driver process per attempt.

What must hold: a job never has more live runs than its definition allows, also while it retries; a run that was
announced as over has freed its slot; nothing is left of a driver when its run is over.
"""

from __future__ import annotations

import logging
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from local_cloud.glue_driver import last_error
from local_cloud.glue_errors import ConcurrentRunsExceededError, EntityNotFoundError, GlueUnavailableError
from local_cloud.glue_runs import JobRun, RunState, load_runs, outcome

logger = logging.getLogger(__name__)

SECONDS_PER_MINUTE: Final = 60.0
DEFAULT_TIMEOUT_MINUTES: Final = 2880
LOG_NAME: Final = "driver.log"


class Driver(Protocol):
    """A started driver process."""

    def wait(self, timeout: float | None = None) -> int: ...  # noqa: D102
    def stop(self, grace: float) -> None: ...  # noqa: D102


class Launcher(Protocol):
    """Whatever starts drivers."""

    def launch(self, run: JobRun, definition: Mapping[str, Any]) -> Driver: ...  # noqa: D102


class GlueRunner:
    """All runs of all jobs."""

    def __init__(
        self,
        *,
        launcher: Launcher,
        announce: Callable[[JobRun], None],
        runs: Path,
        stop_grace: float = 30.0,
        minute: float = SECONDS_PER_MINUTE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Start with the history found under `runs`.

        Args:
            launcher: Starts a driver.
            announce: Tells the world that a run is over.
            runs: Folder of all runs.
            stop_grace: Seconds between a stop and the kill.
            minute: Length of Glue's timeout unit, shorter in tests.
            clock: Seconds since the epoch.
        """
        self._launcher = launcher
        self._announce = announce
        self._folder = runs
        self._stop_grace = stop_grace
        self._minute = minute
        self._clock = clock
        self._lock = threading.RLock()
        self._runs = {run.id: run for run in load_runs(runs)}
        self._drivers: dict[str, Driver] = {}
        self._threads: list[threading.Thread] = []
        self._closing = False

    def start(self, definition: Mapping[str, Any], arguments: dict[str, str], *, timeout: int | None = None) -> JobRun:
        """Start a run of the job.

        Raises:
            ConcurrentRunsExceededError: The job has as many live runs as it may.
            GlueUnavailableError: The cloud is going down.
        """
        name = str(definition["Name"])
        allowed = int((definition.get("ExecutionProperty") or {}).get("MaxConcurrentRuns", 1))
        with self._lock:
            if self._closing:
                raise GlueUnavailableError("The local cloud is going down.")
            if len(self._live(name)) >= allowed:
                raise ConcurrentRunsExceededError(f"Concurrent runs exceeded for {name}")
            minutes = timeout or definition.get("Timeout") or DEFAULT_TIMEOUT_MINUTES
            run = JobRun.new(name, arguments, timeout=int(minutes), now=self._clock(), definition=dict(definition))
            self._keep(run)
            thread = threading.Thread(target=self._work, args=(run,), name=run.id, daemon=True)
            self._threads = [known for known in self._threads if known.is_alive()] + [thread]
            thread.start()
        return run

    def get(self, job_name: str, run_id: str) -> JobRun:
        """Return one run.

        Raises:
            EntityNotFoundError: The job has no such run.
        """
        run = self._runs.get(run_id)
        if run is None or run.job_name != job_name:
            raise EntityNotFoundError(f"Job run {run_id} not found for job {job_name}")
        return run

    def history(self, job_name: str) -> list[JobRun]:
        """Return the runs of a job, newest first."""
        with self._lock:
            found = [run for run in self._runs.values() if run.job_name == job_name]
        return found[::-1]

    def stop(self, job_name: str, run_id: str) -> None:
        """Ask a run to end: SIGTERM to its driver, SIGKILL to all of it after the grace.

        Raises:
            EntityNotFoundError: The job has no such run, or it is over.
        """
        with self._lock:
            run = self.get(job_name, run_id)
            if run.state.is_terminal:
                raise EntityNotFoundError(f"Job run {run_id} is {run.state}")
            self._stop(run, self._stop_grace)

    def shutdown(self, grace: float) -> None:
        """Refuse new runs, stop those that live and wait for them."""
        with self._lock:
            self._closing = True
            for run in self._live():
                self._stop(run, grace)
            threads = list(self._threads)
        for thread in threads:
            thread.join(grace + 10)

    def _work(self, run: JobRun) -> None:
        current: JobRun | None = run
        while current is not None:
            finished, current = current, self._attempt(current)
            if not self._closing:
                self._tell(finished)

    def _tell(self, run: JobRun) -> None:
        try:
            self._announce(run)
        except Exception:
            # A lost event is what the sweep is for; the run and its retries go on.
            logger.exception("the end of a run could not be announced", extra={"run_id": run.id})

    def _attempt(self, run: JobRun) -> JobRun | None:
        run.log = str(self._folder / run.id / LOG_NAME)
        exit_code, timed_out, message = 1, False, ""
        try:
            driver = self._launcher.launch(run, run.definition)
        except Exception as error:
            logger.exception("a run could not be launched", extra={"job": run.job_name, "run_id": run.id})
            message = f"{type(error).__name__}: {error}"
        else:
            exit_code, timed_out = self._follow(run, driver)
        with self._lock:
            self._drivers.pop(run.id, None)
            ended = outcome(exit_code, stopping=run.state is RunState.STOPPING, timed_out=timed_out)
            if ended is RunState.FAILED:
                message = message or last_error(Path(run.log), exit_code)
            elif ended is RunState.TIMEOUT:
                message = f"Job run timed out after {run.timeout} minutes"
            run.advance(ended, now=self._clock(), error_message=message or None)
            self._keep(run)
            return self._retry_of(run)

    def _follow(self, run: JobRun, driver: Driver) -> tuple[int, bool]:
        with self._lock:
            self._drivers[run.id] = driver
            if run.state is RunState.STOPPING:
                driver.stop(self._stop_grace)
            else:
                run.advance(RunState.RUNNING, now=self._clock())
            self._keep(run)
        try:
            return driver.wait(run.timeout * self._minute), False
        except subprocess.TimeoutExpired:
            driver.stop(self._stop_grace)
            return driver.wait(), True

    def _retry_of(self, run: JobRun) -> JobRun | None:
        # In the same step as the end of the failed attempt, so that no other run takes the slot in between.
        retries = int(run.definition.get("MaxRetries") or 0)
        if run.state is not RunState.FAILED or run.attempt >= retries or self._closing:
            return None
        retry = run.retry(now=self._clock())
        self._keep(retry)
        return retry

    def _stop(self, run: JobRun, grace: float) -> None:
        if run.state is not RunState.STOPPING:
            run.advance(RunState.STOPPING, now=self._clock())
            self._keep(run)
        if (driver := self._drivers.get(run.id)) is not None:
            driver.stop(grace)

    def _live(self, job_name: str | None = None) -> list[JobRun]:
        return [run for run in self._runs.values() if not run.state.is_terminal and job_name in {None, run.job_name}]

    def _keep(self, run: JobRun) -> None:
        self._runs[run.id] = run
        run.save(self._folder)
