"""Start, show and end a local cloud: what the command line and the tests use.

What must hold: after `down`, after `close`, and after the death of whoever called `up` before `detach`, no process
and no listening port of the cloud is left.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Final

import psutil

from local_cloud.assembly import Assembly
from local_cloud.cloud import CLOSE_SECONDS, Cloud
from local_cloud.deploy import Deployment
from local_cloud.emulator_gaps import describe_gaps
from local_cloud.environment import base_environment, host_environment
from local_cloud.errors import LocalCloudError
from local_cloud.glue_runs import JobRun, load_runs
from local_cloud.options import CloudOptions
from local_cloud.preconditions import check_start, listens, locked
from local_cloud.processes import GuardedProcess, end_left, find_left, start_guarded
from local_cloud.state import PROJECT, CloudRecord, State
from local_cloud.toolchain import Toolchain

START_SECONDS: Final = 90.0


@dataclass(frozen=True, kw_only=True)
class CloudStatus:
    """What is known of a state folder.

    Attributes:
        state: The folder.
        running: Whether a complete cloud runs there.
        record: Its record, also when it crashed.
        processes: Processes that belong to it.
        runs: Job runs, oldest first; they are kept after `down`.
    """

    state: Path
    running: bool
    record: CloudRecord | None
    processes: int
    runs: list[JobRun]

    @property
    def crashed(self) -> bool:
        """Tell whether something is left of a cloud that did not end in order."""
        return not self.running and (self.record is not None or self.processes > 0)


def up(
    state: Path,
    *,
    port: int | None = None,
    on_progress: Callable[[str], None] = lambda _line: None,
    tied: bool = True,
    options: CloudOptions | None = None,
) -> Cloud:
    """Start a local cloud and place the stack on it.

    Args:
        state: Folder for everything it keeps.
        port: Port of the AWS endpoint; None takes a free one.
        on_progress: Hears one line for each step.
        tied: Whether the cloud ends with this process, until `Cloud.detach`.
        options: Prefix, shards, Spark's size.

    Raises:
        AlreadyRunningError: The folder holds a running cloud, or another `up` works there.
        PortInUseError: The port is taken.
        ToolMissingError: Set-up has not been done.
        DeployError: The stack could not be placed.
    """
    folder = State(state.resolve())
    chosen = options or CloudOptions()
    tools = Toolchain.load(PROJECT / ".tools")
    with locked(folder):
        check_start(folder, port)
        if left := end_left(folder.folder):
            on_progress(f"ended {left} processes of a cloud that had crashed")
        folder.prepare()
        tie: GuardedProcess | None = None
        try:
            started = time.monotonic()
            assembly = Assembly(state=folder, tools=tools, options=chosen, host=host_environment())
            tie = _start_supervisor(folder, chosen, port)
            record = _wait_for_record(folder, tie)
            on_progress(f"AWS at {record.endpoint}, Glue at {record.glue_endpoint} ({_since(started)})")
            _place(folder, record, tools, assembly, on_progress)
        except BaseException:
            _abandon(folder, tie)
            raise
    cloud = Cloud(folder, replace(record, deployed=True), tools, tie=tie)
    if not tied:
        cloud.detach()
    return cloud


def status(state: Path) -> CloudStatus:
    """Return what is known of a state folder, without changing it."""
    folder = State(state.resolve())
    record = folder.read()
    return CloudStatus(
        state=folder.folder,
        running=record is not None and record.is_alive() and record.deployed,
        record=record,
        processes=len(find_left(folder.folder)),
        runs=load_runs(folder.runs),
    )


def load(state: Path) -> Cloud | None:
    """Return the cloud that runs under `state`, or None."""
    folder = State(state.resolve())
    record = folder.read()
    if record is None or not record.is_alive() or not record.deployed:
        return None
    return Cloud(folder, record, Toolchain.load(PROJECT / ".tools"))


def down(state: Path) -> int:
    """End the cloud under `state` and return how many processes it had; 0 when there was none.

    Raises:
        LocalCloudError: Something of it is still there.
    """
    folder = State(state.resolve())
    record = folder.read()
    count = len(find_left(folder.folder))
    if record is not None and (supervisor := record.supervisor.process()) is not None:
        with suppress(psutil.NoSuchProcess):
            supervisor.terminate()
            psutil.wait_procs([supervisor], timeout=CLOSE_SECONDS)
    _abandon(folder, None)
    if record is not None and (open_ports := [p for p in (record.port, record.glue_port) if listens(p)]):
        raise LocalCloudError(
            expected=f"nothing to listen on {open_ports} any more",
            found="somebody who does",
            do="Find who it is with `lsof -i` or `ss -ltnp`.",
        )
    return count


def _place(
    folder: State, record: CloudRecord, tools: Toolchain, assembly: Assembly, on_progress: Callable[[str], None]
) -> None:
    deployment = Deployment(
        state=folder,
        tools=tools,
        host=host_environment(),
        endpoint=record.endpoint,
        glue_endpoint=record.glue_endpoint,
    )
    started = time.monotonic()
    deployment.bootstrap()
    on_progress(f"CDK bootstrapped ({_since(started)})")
    started = time.monotonic()
    ready = assembly.wait()
    on_progress(
        "stack unchanged since it was last synthesised"
        if assembly.is_reused
        else f"stack synthesised ({_since(started)} more)"
    )
    started = time.monotonic()
    deployment.deploy(ready)
    folder.write(replace(record, deployed=True))
    on_progress(f"stack deployed ({_since(started)})")
    for line in describe_gaps():
        on_progress(f"not on the laptop: {line}")


def _start_supervisor(folder: State, options: CloudOptions, port: int | None) -> GuardedProcess:
    return start_guarded(
        [
            sys.executable,
            "-m",
            "local_cloud.supervisor",
            "--state",
            folder.folder,
            "--port",
            str(port or 0),
            "--options",
            options.to_json(),
        ],
        environment=base_environment(host_environment()),
        state=folder.folder,
        log=folder.logs / "supervisor.log",
        cwd=folder.folder,
        grace=options.stop_grace_seconds + 30,
    )


def _wait_for_record(folder: State, supervisor: GuardedProcess) -> CloudRecord:
    deadline = time.monotonic() + START_SECONDS
    while (record := folder.read()) is None:
        if supervisor.poll() is not None or time.monotonic() > deadline:
            log = folder.logs / "supervisor.log"
            raise LocalCloudError(
                expected="the local cloud to start",
                found=f"this in {log}:\n{log.read_text()[-2000:]}",
                do="Correct that and run it again.",
            )
        time.sleep(0.05)
    return record


def _abandon(folder: State, tie: GuardedProcess | None) -> None:
    if tie is not None:
        tie.stop(CLOSE_SECONDS)
        with suppress(TimeoutExpired):
            tie.wait(CLOSE_SECONDS)
    end_left(folder.folder)
    folder.forget()


def _since(started: float) -> str:
    return f"{time.monotonic() - started:.1f} s"
