"""Several workers as processes of their own, with one start, one stop and one account of how they stand."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Final, cast

from producers.errors import LaneError
from producers.report.measures import Measures, merge, merge_snapshots
from producers.worker import PROGRESS_S, Progress, Task, Worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.process import BaseProcess

SPAWN: Final = multiprocessing.get_context("spawn")
READY: Final = "ready"


class Crew:
    """The workers of one delivery. A worker that dies stops the others; what it had written of its account counts."""

    def __init__(self, task: Task, stop: threading.Event) -> None:
        """Prepare; nothing is started yet."""
        self._task, self._stop = task, stop
        self._standing: dict[int, Progress] = {}
        self._measures: list[Measures] = []
        self._failures: list[LaneError] = []

    def measures(self) -> Measures:
        """Return what the workers have measured, once they are through."""
        return merge(self._measures)

    def run(self, on_progress: Callable[[Progress], None]) -> Progress:
        """Send everything and return how it stands at the end; `on_progress` hears of it twice a second.

        Raises:
            LaneError: A lane gave up or a worker died; the others have finished what they had taken up.
        """
        stop_all = SPAWN.Event()
        workers: dict[Connection, tuple[int, BaseProcess]] = {}
        for number in range(self._task.settings.workers):
            ours, theirs = SPAWN.Pipe()
            process = SPAWN.Process(target=_work, args=(self._task, number, stop_all, theirs), daemon=True)
            process.start()
            theirs.close()
            workers[ours] = (number, process)
        try:
            for pipe in list(workers):
                self._hear(pipe, workers)
            started = self._task.clock.elapsed()
            for pipe in workers:
                pipe.send(started)
            while workers:
                if (self._stop.is_set() or self._failures) and not stop_all.is_set():
                    stop_all.set()
                for heard in wait(list(workers), timeout=PROGRESS_S):
                    self._hear(cast("Connection", heard), workers)
                on_progress(self._progress())
        finally:
            stop_all.set()
            for _, left in workers.values():
                left.join()
        if self._failures:
            raise self._failures[0]
        return self._progress()

    def _hear(self, pipe: Connection, workers: dict[Connection, tuple[int, BaseProcess]]) -> None:
        number, process = workers[pipe]
        try:
            word = pipe.recv()
        except EOFError:
            process.join()
            del workers[pipe]
            if process.exitcode:
                self._failures.append(
                    LaneError(
                        expected=f"worker {number} to send its part to the end",
                        found=f"its process ended with code {process.exitcode}",
                        do="See what ended it (memory, a signal); what it had not written may stand in the stream.",
                    )
                )
            return
        if isinstance(word, Progress):
            self._standing[number] = word
        elif isinstance(word, Measures):
            self._measures.append(word)
        elif isinstance(word, dict):
            self._failures.append(LaneError(**word))

    def _progress(self) -> Progress:
        standing = list(self._standing.values())
        return Progress(
            seconds=max((one.seconds for one in standing), default=0.0),
            snapshot=merge_snapshots(one.snapshot for one in standing),
            lag_s=max((one.lag_s for one in standing), default=0.0),
            longest_lag_s=max((one.longest_lag_s for one in standing), default=0.0),
            in_flight=sum(one.in_flight for one in standing),
        )


def _work(task: Task, number: int, stop: threading.Event, pipe: Connection) -> None:
    # A Ctrl-C reaches the whole process group; only the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_stop_without, args=(parent, stop), daemon=True).start()
    try:
        worker = Worker(task, number, stop)
        pipe.send(READY)
        try:
            pipe.send(worker.run(pipe.send, started=pipe.recv()))
        except LaneError as error:
            pipe.send({"expected": error.expected, "found": error.found, "do": error.do})
        pipe.send(worker.measures())
    except (BrokenPipeError, EOFError):
        stop.set()
    finally:
        pipe.close()


def _stop_without(parent: BaseProcess, stop: threading.Event) -> None:
    """Stop when the parent is gone, however it died."""
    parent.join()
    stop.set()
