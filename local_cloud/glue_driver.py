"""The driver process of a run: its arguments, its code fetched from S3, and what its log says about its end.

A job's calls carry its name as their access key, so whoever sees a call knows in which job's name it is made. The
emulator takes any key.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlparse

from local_cloud.processes import GuardedProcess, start_guarded

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from local_cloud.glue_runs import JobRun

TAIL_BYTES: Final = 32_768
ERROR_LINE: Final = re.compile(r"^(?:[\w.]+\.)?\w*(?:Error|Exception|Exit|Interrupt)\b.*")
SIGNAL_BASE: Final = 128


def merge_arguments(definition: Mapping[str, Any], run: JobRun) -> dict[str, str]:
    """Return the arguments of the script: the job's defaults, then the run's own, then those nobody may override."""
    return {
        **definition.get("DefaultArguments", {}),
        "--JOB_NAME": run.job_name,
        "--JOB_RUN_ID": run.id,
        **run.arguments,
        **definition.get("NonOverridableArguments", {}),
    }


def command_line(script: Path, arguments: Mapping[str, str]) -> list[str]:
    """Return the driver's command: every argument reaches the script, Glue's own too, as on Glue."""
    words = [word for name, value in arguments.items() for word in (name, value)]
    return [sys.executable, str(script), *words]


def submit_arguments(arguments: Mapping[str, str], *, access_key: str) -> str:
    """Return what the Spark session that the script builds is told: `--conf A=B --conf C=D` of the job, and its key."""
    words = ["--conf", f"spark.hadoop.fs.s3a.access.key={access_key}"]
    if confs := arguments.get("--conf", ""):
        words += ["--conf", *shlex.split(confs)]
    return " ".join(shlex.quote(word) for word in [*words, "pyspark-shell"])


def last_error(log: Path, exit_code: int) -> str:
    """Return the line of the log that says best why the driver ended."""
    lines = _tail(log)
    for line in reversed(lines):
        if (message := _logged_error(line)) or ERROR_LINE.match(line):
            return message or line
    if exit_code > SIGNAL_BASE:
        return f"the driver was killed by signal {exit_code - SIGNAL_BASE}"
    return lines[-1] if lines else f"the driver ended with exit code {exit_code}"


def _tail(log: Path) -> list[str]:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        text = file.read().decode(errors="replace")
    return [line.strip() for line in text.splitlines() if line.strip()]


def _logged_error(line: str) -> str:
    # Our own jobs log JSON.
    if not line.startswith("{"):
        return ""
    try:
        entry = json.loads(line)
    except ValueError:
        return ""
    if not isinstance(entry, dict) or entry.get("level") not in {"ERROR", "CRITICAL"}:
        return ""
    cause = str(entry.get("exception", "")).strip().splitlines()
    return " ".join([str(entry.get("message", "")), *cause[-1:]]).strip()


@dataclass(frozen=True, kw_only=True)
class DriverLauncher:
    """Starts drivers.

    Attributes:
        s3: Makes the client that fetches script and wheels, by its access key.
        runs: Folder of all runs.
        state: Folder of the cloud.
        environment: What every driver gets.
    """

    s3: Callable[[str], S3Client]
    runs: Path
    state: Path
    environment: Mapping[str, str]

    def launch(self, run: JobRun, definition: Mapping[str, Any]) -> GuardedProcess:
        """Fetch the run's code and start its driver."""
        folder = self.runs / run.id
        folder.mkdir(parents=True, exist_ok=True)
        arguments = merge_arguments(definition, run)
        s3 = self.s3(run.job_name)
        script = _fetch(s3, definition["Command"]["ScriptLocation"], folder)
        wheels = [
            _fetch(s3, address, folder) for address in arguments.get("--extra-py-files", "").split(",") if address
        ]
        environment = {
            **self.environment,
            "AWS_ACCESS_KEY_ID": run.job_name,
            "PYTHONPATH": ":".join(str(wheel) for wheel in wheels),
            "PYTHONUNBUFFERED": "1",
            "PYSPARK_SUBMIT_ARGS": submit_arguments(arguments, access_key=run.job_name),
        }
        return start_guarded(
            command_line(script, arguments),
            environment=environment,
            state=self.state,
            log=Path(run.log),
            cwd=folder,
        )


def _fetch(s3: S3Client, address: str, folder: Path) -> Path:
    place = urlparse(address)
    target = folder / Path(place.path).name
    s3.download_file(place.netloc, place.path.lstrip("/"), str(target))
    return target
