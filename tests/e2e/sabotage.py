"""Kill the runs that the pipeline itself starts: the job's definition says where, until the first death."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lakehouse import layout
from listenlake.pipeline import ACTIVE, FAILED

POLL_SECONDS = 0.3


class Saboteur:
    """Has the next runs of some jobs die at a commit boundary."""

    def __init__(self, glue: Any, boundaries: dict[str, str]) -> None:
        self._glue = glue
        self._boundaries = boundaries
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.deaths: dict[str, int] = dict.fromkeys(boundaries, 0)

    @contextmanager
    def at_work(self) -> Iterator[Saboteur]:
        """Sabotage inside the block."""
        for job, boundary in self._boundaries.items():
            self._define(job, boundary)
        self._thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            self._thread.join()

    def _watch(self) -> None:
        mended: set[str] = set()
        while not self._stop.wait(POLL_SECONDS):
            for job in self._boundaries:
                runs = self._glue.get_job_runs(JobName=job)["JobRuns"]
                self.deaths[job] = sum(run["JobRunState"] in FAILED for run in runs)
                if self.deaths[job] and job not in mended:
                    mended.add(job)
                    self._define(job, "-")
                if job == layout.INGEST_JOB and self.deaths[job]:
                    self._keep_ingesting(runs)

    def _keep_ingesting(self, runs: list[dict[str, Any]]) -> None:
        """Start ingestion once its own retries are used up, as an operator would."""
        if not any(run["JobRunState"] in {*ACTIVE, "STOPPED"} for run in runs):
            time.sleep(1)  # a retry may be about to begin; Glue refuses a second run in any case
            try:
                self._glue.start_job_run(JobName=layout.INGEST_JOB, Arguments={"--trigger_seconds": "3"})
            except self._glue.exceptions.ConcurrentRunsExceededException:
                return

    def _define(self, job: str, boundary: str) -> None:
        definition = self._glue.get_job(JobName=job)["Job"]
        kept = ("Role", "Command", "GlueVersion", "WorkerType", "NumberOfWorkers", "MaxRetries", "Timeout")
        update = {name: definition[name] for name in kept if name in definition}
        arguments = {**definition["DefaultArguments"], "--kill_at": boundary}
        self._glue.update_job(JobName=job, JobUpdate={**update, "DefaultArguments": arguments})
