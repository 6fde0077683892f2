"""What is shipped: a wheel of the rooms that run on Glue, and the two rooms of the Lambda.

The same sources give the same bytes, so that a deployment replaces only what changed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from lakehouse.errors import ListenlakeError

# 1980-01-01, the earliest time that a zip archive can hold.
FIXED_TIME: Final = "315532800"
GLUE_ROOMS: Final = ("lakehouse", "streaming_jobs", "batch_jobs")
LAMBDA_ROOMS: Final = ("lakehouse", "lambdas")
WHEEL_PROJECT: Final = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "listenlake-jobs"
version = "{version}"
requires-python = ">=3.11"

[tool.hatch.build.targets.wheel]
packages = {packages}
"""


class BuildError(ListenlakeError):
    """The wheel could not be built."""


def build_wheel(project: Path, folder: Path) -> Path:
    """Build the wheel of the rooms that run on Glue, without network, and return its path.

    It is built from a copy of just these rooms, so that an edit elsewhere does not change the jobs that are deployed.

    Raises:
        BuildError: The build failed.
    """
    version = tomllib.loads((project / "pyproject.toml").read_text())["project"]["version"]
    sources = folder / "sources"
    _copy_rooms(project, sources, GLUE_ROOMS)
    (sources / "pyproject.toml").write_text(WHEEL_PROJECT.format(version=version, packages=list(GLUE_ROOMS)))
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=sources,
        env={**os.environ, "SOURCE_DATE_EPOCH": FIXED_TIME},
        capture_output=True,
        text=True,
        check=False,
    )
    wheels = sorted(folder.glob("*.whl"))
    if built.returncode or len(wheels) != 1:
        raise BuildError(
            expected=f"one wheel of {project}", found=built.stderr.strip()[-500:] or "none", do="Repair the build."
        )
    return wheels[0]


def copy_lambda_code(project: Path, folder: Path) -> Path:
    """Copy the rooms of the Lambda into `folder` and return it."""
    _copy_rooms(project, folder, LAMBDA_ROOMS)
    return folder


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Give a folder for what the CDK copies into its assembly as soon as the asset is declared."""
    with tempfile.TemporaryDirectory(prefix="listenlake-assets-") as folder:
        yield Path(folder)


def _copy_rooms(project: Path, folder: Path, rooms: Sequence[str]) -> None:
    for room in rooms:
        shutil.copytree(project / room, folder / room, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
