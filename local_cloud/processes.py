"""Start guarded processes, and find those that a crash has left.

Every guarded process carries the variable `LISTENLAKE_GUARDED` with the state folder it belongs to, so that the next
`up` or `down` recognises what belongs to it and nothing else.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Self

import psutil

from local_cloud import guard

MARK: Final = "LISTENLAKE_GUARDED"


@dataclass(frozen=True)
class ProcessMark:
    """A process id with its start time, so that a recycled id is not taken for the process."""

    pid: int
    started_at: float

    @classmethod
    def of(cls, pid: int) -> Self:
        """Return the mark of a living process."""
        return cls(pid, psutil.Process(pid).create_time())

    def is_alive(self) -> bool:
        """Tell whether exactly this process still runs."""
        return self.process() is not None

    def process(self) -> psutil.Process | None:
        """Return the process, or None when it has ended."""
        try:
            process = psutil.Process(self.pid)
            if abs(process.create_time() - self.started_at) > 1 or process.status() == psutil.STATUS_ZOMBIE:
                return None
        except psutil.NoSuchProcess:
            return None
        return process


class GuardedProcess:
    """A command under its guard, tied to this process until `detach`."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen

    @property
    def mark(self) -> ProcessMark:
        """Identity of the guard: a SIGTERM to it stops the command and all its descendants."""
        return ProcessMark.of(self._popen.pid)

    def poll(self) -> int | None:
        """Return the command's exit code, or None while anything of it runs."""
        return self._popen.poll()

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit code; raises `subprocess.TimeoutExpired`."""
        code = self._popen.wait(timeout)
        self.close()
        return code

    def stop(self, grace: float) -> None:
        """Ask the command to end (SIGTERM to it alone); after `grace` seconds everything of it is killed."""
        self._order(f"stop {grace}\n")

    def detach(self) -> None:
        """Let the command outlive this process."""
        self._order("detach\n")
        self.close()
        # Not ours to wait for any more; without this, `Popen` warns that we forgot it.
        self._popen.returncode = 0

    def close(self) -> None:
        """Close the tie; the guard ends the command unless it was detached."""
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._popen.stdin is not None  # noqa: S101 - opened as a pipe below
        return self._popen.stdin

    def _order(self, line: str) -> None:
        with contextlib.suppress(BrokenPipeError, ValueError):
            self._stdin.write(line.encode())
            self._stdin.flush()


def start_guarded(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str],
    state: Path,
    log: Path,
    cwd: Path | None = None,
    grace: float = 10.0,
) -> GuardedProcess:
    """Start `command` under a guard that is tied to this process.

    Args:
        command: Program and arguments.
        environment: The whole environment of the command.
        state: Folder of the cloud that the command belongs to.
        log: File that stdout and stderr are appended to.
        cwd: Working folder.
        grace: Seconds between SIGTERM and SIGKILL when the tie breaks.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    guarded: list[str] = [sys.executable, "-P", guard.__file__, "--grace", str(grace), "--"]
    with log.open("ab") as output:
        options: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": output, "stderr": subprocess.STDOUT}
        popen = subprocess.Popen(
            guarded + [str(word) for word in command],
            env={**environment, MARK: str(state.resolve())},
            cwd=cwd,
            start_new_session=True,
            **options,
        )
    return GuardedProcess(popen)


def find_left(state: Path) -> list[psutil.Process]:
    """Return every process that belongs to the cloud under `state`, however it was orphaned."""
    mark = str(state.resolve())
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess, OSError):
            if process.environ().get(MARK) == mark:
                found.append(process)
    return found


def end_left(state: Path, *, grace: float = 5.0) -> int:
    """End what a crash has left of the cloud under `state`; return how many processes that were."""
    left = find_left(state)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, stubborn = psutil.wait_procs(left, timeout=grace)
    guard.kill_all(stubborn)
    return len(left)
