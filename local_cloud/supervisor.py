"""The process above a local cloud: starts the emulator and the Glue endpoint, and ends both when it is told to.

In: SIGTERM (from `down`, or from its guard when whoever started it has gone). Out: `cloud.json` once both answer.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from lakehouse import log
from local_cloud import emulator, spark_conf
from local_cloud.clients import make_client
from local_cloud.environment import aws_environment, base_environment, host_environment, spark_environment
from local_cloud.errors import LocalCloudError
from local_cloud.glue_api import GlueApi
from local_cloud.glue_driver import DriverLauncher
from local_cloud.glue_endpoint import GlueEndpoint
from local_cloud.glue_errors import EntityNotFoundError
from local_cloud.glue_runner import GlueRunner
from local_cloud.glue_runs import JobRun
from local_cloud.options import HOST, CloudOptions
from local_cloud.processes import GuardedProcess, ProcessMark, start_guarded
from local_cloud.state import PROJECT, CloudRecord, State
from local_cloud.toolchain import Toolchain

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

logger = logging.getLogger(__name__)

START_SECONDS: Final = 60.0
SHUTDOWN_GRACE: Final = 15.0


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


class Supervisor:
    """One local cloud's emulator, Glue endpoint and job runs."""

    def __init__(self, state: State, options: CloudOptions, port: int) -> None:
        self._state = state
        self._options = options
        self._tools = Toolchain.load(PROJECT / ".tools")
        self._port = port
        self._endpoint = f"http://{HOST}:{port}"
        self._glue = GlueEndpoint()
        self._stop = threading.Event()
        self._emulator: GuardedProcess | None = None
        self._runner: GlueRunner | None = None

    def run(self) -> int:
        """Serve until told to stop, or until the emulator ends by itself; return the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        try:
            running = self._start_emulator()
            self._serve_glue()
            self._state.write(self._record(running))
            logger.info("the local cloud runs", extra={"endpoint": self._endpoint, "glue": self._glue.url})
            while not self._stop.wait(0.5):
                if running.poll() is not None:
                    logger.error("the emulator ended by itself", extra={"exit_code": running.poll()})
                    return 1
        finally:
            self._close()
        return 0

    def _start_emulator(self) -> GuardedProcess:
        environment = emulator.emulator_environment(
            host_environment(),
            self._state,
            port=self._port,
            endpoint=self._options.proxy or self._endpoint,
            glue_endpoint=self._options.proxy or self._glue.url,
        )
        self._emulator = start_guarded(
            [sys.executable, "-m", "local_cloud.emulator"],
            environment=environment,
            state=self._state.folder,
            log=self._state.logs / "emulator.log",
            cwd=self._state.emulator,
        )
        deadline = time.monotonic() + START_SECONDS
        while not emulator.is_ready(self._endpoint):
            if self._emulator.poll() is not None or time.monotonic() > deadline or self._stop.is_set():
                raise LocalCloudError(
                    expected=f"the AWS emulator at {self._endpoint}",
                    found="no answer",
                    do=f"Read {self._state.logs / 'emulator.log'}.",
                )
            time.sleep(0.05)
        return self._emulator

    def _serve_glue(self) -> None:
        reached = self._options.proxy or self._endpoint
        environment = {
            **base_environment(host_environment()),
            **aws_environment(
                endpoint=reached,
                glue_endpoint=self._options.proxy or self._glue.url,
                configuration=self._state.aws_configuration,
            ),
            **spark_environment(self._state.spark, self._tools),
            "TMPDIR": str(self._state.spark / "scratch"),
        }
        spark_conf.write_spark_conf(self._state.spark, endpoint=reached, jars=self._tools.jars, options=self._options)
        self._runner = GlueRunner(
            launcher=DriverLauncher(
                s3=lambda key: cast("S3Client", make_client("s3", reached, access_key=key)),
                runs=self._state.runs,
                state=self._state.folder,
                environment=environment,
            ),
            announce=_announcer(self._endpoint),
            runs=self._state.runs,
            stop_grace=self._options.stop_grace_seconds,
        )
        api = GlueApi(self._runner, _definitions(self._endpoint))
        self._glue.serve(calls=api.calls, backend=self._endpoint)

    def _record(self, running: GuardedProcess) -> CloudRecord:
        return CloudRecord(
            supervisor=ProcessMark.of(os.getppid()),  # our guard
            emulator=running.mark,
            port=self._port,
            glue_port=self._glue.port,
            started_at=time.time(),
            options=self._options,
        )

    def _close(self) -> None:
        if self._runner is not None:
            self._runner.shutdown(min(SHUTDOWN_GRACE, self._options.stop_grace_seconds))
        self._glue.close()
        if self._emulator is not None:
            self._emulator.stop(5.0)
            self._emulator.wait(15.0)
        self._state.forget()


def _definitions(endpoint: str) -> Callable[[str], Mapping[str, Any]]:
    glue = make_client("glue", endpoint)

    def definition_of(name: str) -> Mapping[str, Any]:
        try:
            found: Mapping[str, Any] = glue.get_job(JobName=name)["Job"]
        except glue.exceptions.EntityNotFoundException:
            raise EntityNotFoundError(f"Job {name} not found") from None
        # Its dates are of no use here and not JSON.
        return {key: value for key, value in found.items() if not key.endswith("On")}

    return definition_of


def _announcer(endpoint: str) -> Callable[[JobRun], None]:
    events = make_client("events", endpoint)

    def announce(run: JobRun) -> None:
        event = emulator.state_change_event(
            job=run.job_name,
            run_id=run.id,
            state=run.state,
            message=run.error_message or f"Job run {run.state.lower()}",
        )
        answer = events.put_events(Entries=[event])
        logger.info(
            "a run ended",
            extra={"job": run.job_name, "run_id": run.id, "state": run.state, "refused": answer["FailedEntryCount"]},
        )

    return announce


def main() -> int:
    """Run the supervisor in the foreground."""
    parser = argparse.ArgumentParser(description="Run a local cloud; `listenlake up` starts this.")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--options", default="{}")
    arguments = parser.parse_args()
    log.configure()
    try:
        options = CloudOptions.from_json(arguments.options)
        return Supervisor(State(arguments.state), options, arguments.port or free_port()).run()
    except LocalCloudError as error:
        logger.error(str(error))
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
