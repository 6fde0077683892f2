"""Run one command so that nothing of it survives whoever started it.

The guard's stdin is a pipe whose other end only its parent holds. In: lines `stop SECONDS` (SIGTERM to the command,
and SIGKILL to all that is left after that time) and `detach` (the parent may go, the command stays). End of file
means that the parent is gone, however it died: the command's group gets SIGTERM, then everything SIGKILL.
Out: the command's exit code, 128 + N when signal N ended it.

Run by path, so it imports nothing of ours: `python -P guard.py [--grace SECONDS] -- COMMAND…`.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

import psutil

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
LINUX = sys.platform == "linux"
# What a command left behind (a JVM, say) may take to notice and leave by itself.
LINGER_SECONDS = 2.0


class Guard:
    """Starts the command, waits for its end or for a reason to end it, and cleans up after it."""

    def __init__(self, command: Sequence[str], grace: float) -> None:
        self._grace = grace
        self._detached = False
        self._deadline: float | None = None
        self._buffer = b""
        self._wakeup, write_end = os.pipe()
        os.set_blocking(write_end, False)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        if LINUX:
            # Orphans of the command become our children, where `descendants` finds them.
            _prctl(PR_SET_CHILD_SUBREAPER, 1)
        guard = os.getpid()
        self._command = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            process_group=0,
            preexec_fn=lambda: _die_with(guard),  # noqa: PLW1509 - safe, since this process has one thread
        )

    def run(self) -> int:
        """Return the command's exit code once nothing of it is left."""
        watched = [self._wakeup, 0]
        while self._command.poll() is None:
            ready, _, _ = select.select(watched, [], [], 0.5)
            if self._wakeup in ready:
                os.read(self._wakeup, 512)
            if 0 in ready and not self._read_order():
                watched.remove(0)
            if self._deadline is not None and time.monotonic() > self._deadline:
                send_kill(descendants())  # without waiting: the command's exit code is for `poll`
        self._clean_up()
        code = self._command.returncode
        return code if code >= 0 else 128 - code

    def _on_signal(self, number: int, _frame: object) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._stop(self._grace)

    def _read_order(self) -> bool:
        chunk = os.read(0, 512)
        if not chunk:
            if not self._detached:
                self._stop(self._grace, whole_group=True)
            return False
        self._buffer += chunk
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            order, _, argument = line.decode().partition(" ")
            if order == "detach":
                self._detached = True
            elif order == "stop":
                self._stop(float(argument))
        return True

    def _stop(self, grace: float, *, whole_group: bool = False) -> None:
        if self._deadline is None and self._command.poll() is None:
            end = os.killpg if whole_group else os.kill
            end(self._command.pid, signal.SIGTERM)
        deadline = time.monotonic() + grace
        self._deadline = deadline if self._deadline is None else min(self._deadline, deadline)

    def _clean_up(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._command.pid, signal.SIGTERM)
        left = descendants()
        psutil.wait_procs(left, timeout=LINGER_SECONDS)
        kill_all(descendants())


def descendants() -> list[psutil.Process]:
    """Return every process below this one."""
    return psutil.Process().children(recursive=True)


def send_kill(processes: Sequence[psutil.Process]) -> None:
    """SIGKILL these processes."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def kill_all(processes: Sequence[psutil.Process]) -> None:
    """SIGKILL these processes and wait until they are gone."""
    send_kill(processes)
    psutil.wait_procs(processes, timeout=5)


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _die_with(guard: int) -> None:
    # Even a guard that is killed outright takes its command along.
    if LINUX:
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guard:
            os._exit(1)


def main() -> int:
    """Guard the command named on the command line."""
    parser = argparse.ArgumentParser(description="Run a command that dies with whoever started it.")
    parser.add_argument("--grace", type=float, default=10.0, help="seconds between SIGTERM and SIGKILL")
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    return Guard(arguments.command, arguments.grace).run()


if __name__ == "__main__":
    sys.exit(main())
