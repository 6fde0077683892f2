"""Nothing that a guard started survives: whoever dies, in whatever way."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from local_cloud import guard
from local_cloud.processes import MARK, GuardedProcess, end_left, find_left, start_guarded

DEADLINE_SECONDS = 20
# A command with one child in its own group and one that left it, both deaf to SIGTERM.
FAMILY = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
children = [subprocess.Popen(["sleep", "300"], start_new_session=away) for away in (False, True)]
with open(sys.argv[1] + ".new", "w") as file:
    file.write(" ".join(str(pid) for pid in [os.getpid(), *(child.pid for child in children)]))
os.rename(sys.argv[1] + ".new", sys.argv[1])
time.sleep(300)
"""
PARENT = """
import os, sys, time
from pathlib import Path
from local_cloud.processes import start_guarded
state = Path(sys.argv[1])
start_guarded([sys.executable, "-c", sys.argv[3], sys.argv[2]], environment=dict(os.environ), state=state,
              log=state / "log", grace=0.5)
time.sleep(300)
"""


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true within {DEADLINE_SECONDS} s"
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def start_family(state: Path, *, grace: float = 0.5) -> tuple[GuardedProcess, list[int]]:
    pids = state / "pids"
    process = start_guarded(
        [sys.executable, "-c", FAMILY, pids], environment=dict(os.environ), state=state, log=state / "log", grace=grace
    )
    wait_until(pids.exists, "the family")
    return process, [int(pid) for pid in pids.read_text().split()]


def test_the_death_of_the_parent_ends_child_and_grandchildren(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path), str(pids), FAMILY]) as parent:
        wait_until(pids.exists, "the family")
        family = [int(pid) for pid in pids.read_text().split()]
        assert len(family) == 3
        assert all(is_running(pid) for pid in family)
        parent.send_signal(signal.SIGKILL)
    wait_until(lambda: not any(is_running(pid) for pid in family), "the end of the family")
    wait_until(lambda: not find_left(tmp_path), "the end of the guard")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_even_a_killed_guard_takes_its_command_along(tmp_path: Path) -> None:
    process, family = start_family(tmp_path)
    os.kill(process.mark.pid, signal.SIGKILL)
    wait_until(lambda: not is_running(family[0]), "the end of the command")
    process.wait(DEADLINE_SECONDS)
    assert end_left(tmp_path, grace=1) == 2  # the sleepers, found by their mark
    assert not any(is_running(pid) for pid in family)


def test_stop_asks_first_and_kills_after_the_grace(tmp_path: Path) -> None:
    process, family = start_family(tmp_path)
    started = time.monotonic()
    process.stop(0.5)
    assert process.wait(DEADLINE_SECONDS) == 128 + signal.SIGKILL
    assert time.monotonic() - started >= 0.5
    assert not any(is_running(pid) for pid in family)


def test_a_command_that_heeds_sigterm_ends_with_its_own_code(tmp_path: Path) -> None:
    heeds = (
        "import signal, sys, time, pathlib\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "pathlib.Path(sys.argv[1]).touch()\n"
        "time.sleep(300)\n"
    )
    ready = tmp_path / "ready"
    process = start_guarded(
        [sys.executable, "-c", heeds, ready], environment=dict(os.environ), state=tmp_path, log=tmp_path / "log"
    )
    wait_until(ready.exists, "readiness")
    process.stop(DEADLINE_SECONDS)
    assert process.wait(DEADLINE_SECONDS) == 7


def test_a_command_that_kills_its_own_group_is_reported_not_its_guard(tmp_path: Path) -> None:
    suicide = "import os, signal; os.killpg(os.getpgrp(), signal.SIGKILL)"
    process = start_guarded(
        [sys.executable, "-c", suicide], environment=dict(os.environ), state=tmp_path, log=tmp_path / "log"
    )
    assert process.wait(DEADLINE_SECONDS) == 128 + signal.SIGKILL


def test_what_a_finished_command_left_is_ended(tmp_path: Path) -> None:
    leaves = "import subprocess; print(subprocess.Popen(['sleep', '300'], start_new_session=True).pid)"
    log = tmp_path / "log"
    process = start_guarded([sys.executable, "-c", leaves], environment=dict(os.environ), state=tmp_path, log=log)
    assert process.wait(DEADLINE_SECONDS) == 0
    if guard.LINUX:
        assert not is_running(int(log.read_text()))


def test_a_detached_command_outlives_the_tie_until_its_guard_is_told(tmp_path: Path) -> None:
    process, family = start_family(tmp_path)
    mark = process.mark
    process.detach()
    time.sleep(1.5)  # longer than the grace: what must not happen has no condition to wait for
    assert all(is_running(pid) for pid in family)
    os.kill(mark.pid, signal.SIGTERM)
    wait_until(lambda: not any(is_running(pid) for pid in family), "the end of the family")
    wait_until(lambda: not mark.is_alive(), "the end of the guard")


def test_marks_tell_clouds_apart(tmp_path: Path) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    process = start_guarded(["sleep", "300"], environment=dict(os.environ), state=mine, log=tmp_path / "log")
    wait_until(lambda: len(find_left(mine)) == 2, "guard and command")
    assert find_left(other) == []
    assert all(found.environ()[MARK] == str(mine) for found in find_left(mine))
    process.close()
    wait_until(lambda: not find_left(mine), "their end")
    process.wait(DEADLINE_SECONDS)
