"""What is shipped: a wheel of the rooms that run on Glue, and the two rooms of the Lambda with what they import.

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
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

from lakehouse.errors import ListenlakeError

# 1980-01-01, the earliest time that a zip archive can hold.
FIXED_TIME: Final = "315532800"
GLUE_ROOMS: Final = ("lakehouse", "streaming_jobs", "batch_jobs")
LAMBDA_ROOMS: Final = ("lakehouse", "lambdas")
LAMBDA_EXTRA: Final = "lambdas"
# What an installer notes about this machine.
INSTALLERS_NOTES: Final = frozenset({"INSTALLER", "RECORD", "REQUESTED", "direct_url.json"})
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
    """An asset could not be built."""


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
    """Copy the rooms of the Lambda and the packages they need into `folder` and return it.

    The packages are those of this environment, installed from the lock with their hashes checked: what is deployed is
    what the tests ran with, and nothing is fetched. boto3 is part of Lambda's runtime.

    Raises:
        BuildError: A package holds compiled code, which would be that of this machine and not of the Lambda's.
    """
    _copy_rooms(project, folder, LAMBDA_ROOMS)
    extras = tomllib.loads((project / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for package in _needed(extras[LAMBDA_EXTRA]):
        _copy_package(package, folder)
    return folder


def _needed(requirements: Sequence[str]) -> list[Distribution]:
    """Return the installed packages that satisfy `requirements` and what these need themselves."""
    found: dict[str, Distribution] = {}
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        requirement = waiting.pop()
        needed = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if needed and requirement.name not in found:
            found[requirement.name] = distribution(requirement.name)
            waiting += [Requirement(text) for text in found[requirement.name].requires or ()]
    return list(found.values())


def _copy_package(package: Distribution, folder: Path) -> None:
    if "Root-Is-Purelib: true" not in (package.read_text("WHEEL") or ""):
        raise BuildError(
            expected=f"{package.name} as Python alone, which runs on any machine",
            found="compiled code",
            do=f"Choose another package, or install it for the Lambda's own platform in {__name__}.",
        )
    for file in package.files or ():
        is_inside = ".." not in file.parts  # scripts lie elsewhere
        if is_inside and file.suffix != ".pyc" and file.name not in INSTALLERS_NOTES:
            target = folder / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file.locate(), target)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Give a folder for what the CDK copies into its assembly as soon as the asset is declared."""
    with tempfile.TemporaryDirectory(prefix="listenlake-assets-") as folder:
        yield Path(folder)


def _copy_rooms(project: Path, folder: Path, rooms: Sequence[str]) -> None:
    for room in rooms:
        shutil.copytree(project / room, folder / room, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
