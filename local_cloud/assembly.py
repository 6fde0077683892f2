"""The cloud assembly: `infra` synthesised once for each state of the sources, then reused."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from infra.configuration import PROJECT, Configuration
from local_cloud.environment import base_environment
from local_cloud.errors import DeployError
from local_cloud.options import CloudOptions
from local_cloud.processes import GuardedProcess, start_guarded
from local_cloud.state import State
from local_cloud.toolchain import Toolchain

ENVIRONMENT: Final = "laptop"
# Everything whose change changes the assembly.
ROOMS: Final = ("infra", "lakehouse", "streaming_jobs", "lambdas", "batch_jobs")
FILES: Final = ("pyproject.toml", "requirements/dev.lock")
KEPT: Final = 4
SYNTH_SECONDS: Final = 300.0


def synthesis_command() -> list[str]:
    """Return the words that synthesise `infra`; its environment says what and where to."""
    return [sys.executable, "-m", "infra.app"]


def synthesis_environment(
    configuration: Configuration, *, tools: Toolchain, host: Mapping[str, str], out: Path
) -> dict[str, str]:
    """Return the environment of a synthesis of `configuration` into the folder `out`, which does not exist yet."""
    return {
        **base_environment(host),
        "TMPDIR": str(out.parent),
        "JSII_NODE": str(tools.node),
        "CDK_OUTDIR": str(out),
        "CDK_CONTEXT_JSON": json.dumps(configuration.to_context()),
    }


class Assembly:
    """The assembly for one set of options, being made or ready."""

    def __init__(self, *, state: State, tools: Toolchain, options: CloudOptions, host: Mapping[str, str]) -> None:
        """Begin to make the assembly, unless the sources are as they were when one was made."""
        configuration = Configuration(prefix=options.prefix, environment=ENVIRONMENT, shards=str(options.shards))
        self._store = PROJECT / ".tools" / "assemblies"
        self._folder = self._store / fingerprint(PROJECT, configuration)
        self._log = state.logs / "synth.log"
        self._draft = state.folder / "cdk" / "assembly"
        self._synth: GuardedProcess | None = None
        if self._folder.exists():
            return
        shutil.rmtree(self._draft, ignore_errors=True)
        self._draft.parent.mkdir(parents=True, exist_ok=True)
        self._synth = start_guarded(
            synthesis_command(),
            environment=synthesis_environment(configuration, tools=tools, host=host, out=self._draft),
            state=state.folder,
            log=self._log,
            cwd=PROJECT,
        )

    @property
    def is_reused(self) -> bool:
        """Tell whether nothing had to be synthesised."""
        return self._synth is None

    def wait(self) -> Path:
        """Return the assembly's folder once it is complete.

        Raises:
            DeployError: The app does not synthesise.
        """
        if self._synth is None:
            return self._folder
        if self._synth.wait(SYNTH_SECONDS) != 0:
            raise DeployError(
                expected="a cloud assembly of `infra`",
                found=f"an error:\n{self._log.read_text()[-2000:]}",
                do=f"The whole output is in {self._log}.",
            )
        self._store.mkdir(parents=True, exist_ok=True)
        if not self._folder.exists():  # another `up` of this clone may have been faster
            shutil.copytree(self._draft, self._store / f"{self._folder.name}.{time.time_ns()}")
            _publish(self._store, self._folder)
        return self._folder


def fingerprint(project: Path, configuration: Configuration) -> str:
    """Return a digest of everything that decides what the assembly holds."""
    digest = hashlib.sha256(repr(sorted(configuration.to_context().items())).encode())
    for path in _sources(project):
        digest.update(f"{path.relative_to(project)}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:32]


def _sources(project: Path) -> Iterator[Path]:
    for name in FILES:
        if (project / name).exists():
            yield project / name
    for room in ROOMS:
        for path in sorted((project / room).rglob("*")):
            skipped = {"__pycache__", "node_modules"} & set(path.relative_to(project).parts)
            if path.is_file() and not skipped:
                yield path


def _publish(store: Path, folder: Path) -> None:
    draft = max(store.glob(f"{folder.name}.*"))
    try:
        draft.rename(folder)
    except OSError:
        shutil.rmtree(draft, ignore_errors=True)
    by_age = sorted(store.iterdir(), key=lambda path: path.stat().st_mtime)
    for old in by_age[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
