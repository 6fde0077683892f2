"""The workers: one guarded daemon each, started again under the same name whenever it dies, until they are stopped.

Each is tied to this process, so that nothing of it is left however this process ends.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from listenlake.watch.daemon import GRACE_MILLIS, Daemon
from listenlake.watch.errors import WatchError
from local_cloud.processes import GuardedProcess, start_guarded

GRACE_SECONDS: Final = GRACE_MILLIS / 1000 + 4
POLL_SECONDS: Final = 0.2
QUICK_DEATH_SECONDS: Final = 20.0
QUICK_DEATHS: Final = 5
LOG_CHARACTERS: Final = 1500


class Worker:
    """One worker: a daemon, and those that were started in its place."""

    def __init__(self, folder: Path, daemon: Daemon) -> None:
        self.daemon = daemon
        self.restarts = 0
        self.quick_deaths = 0
        self._folder = folder
        self._start()

    def _start(self) -> None:
        self._started = time.monotonic()
        self.process: GuardedProcess = start_guarded(
            self.daemon.command,
            environment=self.daemon.environment,
            state=self._folder,
            log=self.daemon.output,
            cwd=self.daemon.folder,
            grace=GRACE_SECONDS,
        )

    def restart_if_dead(self) -> int | None:
        """Start the daemon again when it has ended; return its exit code, or None when it lives."""
        code = self.process.poll()
        if code is None:
            return None
        self.process.close()
        quick = time.monotonic() - self._started < QUICK_DEATH_SECONDS
        self.quick_deaths = self.quick_deaths + 1 if quick else 0
        if self.quick_deaths < QUICK_DEATHS:
            self.restarts += 1
            self._start()
        return code

    def last_words(self) -> str:
        """Return the end of what the daemon logged."""
        logs = [self.daemon.folder / "daemon.log", self.daemon.output]
        return "\n".join(log.read_text(errors="replace")[-LOG_CHARACTERS:] for log in logs if log.exists())


class WorkerPool:
    """All workers of a session, and the thread that minds them."""

    def __init__(self, folder: Path, daemons: Sequence[Daemon], on_event: Callable[[str], None]) -> None:
        """Start every worker.

        Args:
            folder: The watch folder, by which left processes are recognised.
            daemons: What to start.
            on_event: Hears of each daemon that died, from another thread.
        """
        self._on_event = on_event
        self._stopping = threading.Event()
        self._failure: WatchError | None = None
        self._workers = [Worker(folder, daemon) for daemon in daemons]
        self._thread = threading.Thread(target=self._mind, name="watch-workers", daemon=True)
        self._thread.start()

    @property
    def restarts(self) -> int:
        """Daemons started in the place of one that died."""
        return sum(worker.restarts for worker in self._workers)

    @property
    def running(self) -> int:
        """Daemons that run."""
        return sum(worker.process.poll() is None for worker in self._workers)

    def check(self) -> None:
        """Raise what ended the pool, if anything did.

        Raises:
            WatchError: A daemon dies each time it is started.
        """
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """End all daemons: each checkpoints and gives its leases up, if it can do so in time."""
        self._stopping.set()
        self._thread.join()
        for worker in self._workers:
            worker.process.stop(GRACE_SECONDS)
        for worker in self._workers:
            try:
                worker.process.wait(GRACE_SECONDS + 10)
            except subprocess.TimeoutExpired:
                worker.process.close()  # the guard kills what is left

    def _mind(self) -> None:
        while not self._stopping.wait(POLL_SECONDS):
            for worker in self._workers:
                code = worker.restart_if_dead()
                if code is None:
                    continue
                name = worker.daemon.folder.name
                if worker.quick_deaths < QUICK_DEATHS:
                    self._on_event(f"{name} ended with code {code} and was started again")
                    continue
                self._failure = WatchError(
                    expected=f"the Kinesis Client of {name} to run",
                    found=f"it ended {QUICK_DEATHS} times in a row within {QUICK_DEATH_SECONDS:.0f} s, last with code "
                    f"{code} and this log:\n{worker.last_words()}",
                    do=f"Correct that; the whole log is in {worker.daemon.folder}.",
                )
                return
