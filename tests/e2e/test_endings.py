"""However a demo ends, no process and no listening port of it is left."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from local_cloud.state import PROJECT
from tests.e2e.waiting import wait_until

BIN = Path(sys.executable).parent


def processes_of(state: Path) -> list[psutil.Process]:
    """Return the live processes that have the state folder in their command line, environment or folder."""
    found = []
    for process in psutil.process_iter():
        try:
            told = [*process.cmdline(), process.cwd(), *process.environ().values()]
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
        if any(str(state) in text for text in told):
            found.append(process)
    return found


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM], ids=lambda one: one.name)
def test_an_ended_demo_leaves_nothing(tmp_path: Path, ending: signal.Signals) -> None:
    state, log = tmp_path / "state", tmp_path / "demo.log"
    command = [str(BIN / "listenlake"), "demo", "--state", str(state), "--events", "6000", "--rate", "200"]
    with log.open("w") as output:
        demo = subprocess.Popen(command, cwd=PROJECT, stdout=output, stderr=output, start_new_session=True)
    try:
        wait_until(lambda: "events acknowledged" in log.read_text(), seconds=180, what=f"a demo that sends: {log}")
        assert len(processes_of(state)) > 3
        record = json.loads((state / "cloud.json").read_text())
        demo.send_signal(ending)
        assert demo.wait(60) != 0
        wait_until(lambda: not processes_of(state), seconds=60, what="every process to end")
        assert not any(listens(record[name]) for name in ("port", "glue_port"))
    finally:
        demo.kill()  # Does nothing to a demo that has ended.
        demo.wait()
