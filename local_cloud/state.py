"""The state folder of a local cloud: where its parts lie, and the record of what runs.

cloud.json    endpoints, processes, options           logs/      emulator, supervisor, CDK
runs/         a folder for each Glue job run          spark/     Spark's configuration and scratch space
emulator/     scratch space of the AWS emulator       up.lock    held while `up` works
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from local_cloud.options import HOST, CloudOptions
from local_cloud.processes import ProcessMark

PROJECT: Final = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, kw_only=True)
class CloudRecord:
    """What runs under a state folder.

    Attributes:
        supervisor: The guard above everything; SIGTERM to it stops the cloud.
        emulator: The AWS emulator's guard.
        port: Port of the AWS emulator.
        glue_port: Port of the Glue endpoint.
        started_at: Seconds since the epoch.
        deployed: Whether the stack is in place.
        options: The options it was started with.
    """

    supervisor: ProcessMark
    emulator: ProcessMark
    port: int
    glue_port: int
    started_at: float
    deployed: bool = False
    options: CloudOptions

    @property
    def endpoint(self) -> str:
        """URL of every AWS service but Glue."""
        return f"http://{HOST}:{self.port}"

    @property
    def glue_endpoint(self) -> str:
        """URL of Glue."""
        return f"http://{HOST}:{self.glue_port}"

    def is_alive(self) -> bool:
        """Tell whether this cloud still runs."""
        return self.supervisor.is_alive() and self.emulator.is_alive()

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """Read a record from parsed JSON."""
        marks = {name: ProcessMark(**values[name]) for name in ("supervisor", "emulator")}
        return cls(**{**values, **marks, "options": CloudOptions(**values["options"])})


@dataclass(frozen=True)
class State:
    """The folder and its parts."""

    folder: Path

    @property
    def logs(self) -> Path:
        """Logs of everything but job runs."""
        return self.folder / "logs"

    @property
    def runs(self) -> Path:
        """One folder for each job run."""
        return self.folder / "runs"

    @property
    def spark(self) -> Path:
        """Spark's scratch space; its configuration is in `conf/`."""
        return self.folder / "spark"

    @property
    def emulator(self) -> Path:
        """Scratch space of the emulator."""
        return self.folder / "emulator"

    @property
    def aws_configuration(self) -> Path:
        """An empty AWS configuration file, so that the user's own profiles stay out of it."""
        return self.folder / "aws-config"

    @property
    def lock(self) -> Path:
        """The file that `up` locks."""
        return self.folder / "up.lock"

    def prepare(self) -> None:
        """Clear what an earlier cloud has left and create the folders."""
        for folder in (self.logs, self.runs, self.spark, self.emulator):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        self.forget()
        self.aws_configuration.write_text("")

    def read(self) -> CloudRecord | None:
        """Return the record, or None when no cloud was started or it was stopped in order."""
        try:
            return CloudRecord.from_values(json.loads(self._record_file.read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError):
            # Written by another version; the processes are still found by their mark.
            return None

    def write(self, record: CloudRecord) -> None:
        """Keep the record, in one step."""
        new = self._record_file.with_suffix(".new")
        new.write_text(json.dumps(asdict(record), indent=2))
        new.replace(self._record_file)

    def forget(self) -> None:
        """Remove the record."""
        self._record_file.unlink(missing_ok=True)

    @property
    def _record_file(self) -> Path:
        return self.folder / "cloud.json"
