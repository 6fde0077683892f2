"""The jars that Spark needs for Delta and S3: resolved once by Spark's own Ivy, then held to a lock.

`requirements/jars.lock` has one line `SHA256  FILE` for each jar, as `sha256sum` writes it.
"""

from __future__ import annotations

import hashlib
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from local_cloud.environment import base_environment, tls_environment
from local_cloud.errors import ToolMissingError
from local_cloud.java import Java

PACKAGES: Final = (
    "io.delta:delta-spark_4.1_2.13:4.2.0",
    "org.apache.hadoop:hadoop-aws:3.4.2",
    "software.amazon.awssdk:s3:2.29.52",
    "software.amazon.awssdk:s3-transfer-manager:2.29.52",
    "software.amazon.awssdk:sts:2.29.52",
)
# The SDK's bundle (641 MB), what Spark ships itself, and parts of Delta and Hadoop for services that are not used.
EXCLUDES: Final = (
    "software.amazon.awssdk:bundle",
    "software.amazon.s3.analyticsaccelerator:analyticsaccelerator-s3",
    "org.wildfly.openssl:wildfly-openssl",
    "org.apache.hadoop:hadoop-client-api",
    "org.apache.hadoop:hadoop-client-runtime",
    "io.delta:delta-kernel-unitycatalog",
    "io.unitycatalog:unitycatalog-client",
    "io.netty:*",
    "com.fasterxml.jackson.core:*",
    "com.fasterxml.jackson.datatype:*",
    "com.google.code.findbugs:*",
    "commons-codec:*",
    "commons-logging:*",
    "org.apache.httpcomponents:*",
    "org.apache.logging.log4j:*",
    "org.apache.parquet:*",
    "org.locationtech.jts:*",
    "org.roaringbitmap:*",
    "org.slf4j:*",
)
RESOLVE: Final = "from pyspark.java_gateway import launch_gateway; launch_gateway().shutdown()"
RESOLVE_SECONDS: Final = 600


def prepare_jars(folder: Path, *, lock: Path, ivy: Path, java: Java, host: Mapping[str, str]) -> str:
    """Make `folder` hold exactly the locked jars; return what was done.

    Args:
        folder: Where the jars are kept.
        lock: The lock file.
        ivy: Ivy's working folder.
        java: What runs Ivy.
        host: The machine's environment.

    Raises:
        ToolMissingError: The jars can't be resolved, or are not those of the lock.
    """
    locked = lock.read_text()
    if describe(folder) == locked:
        return "as locked"
    if describe(ivy / "jars") != locked:
        resolve(ivy, java=java, host=host)
    found = describe(ivy / "jars")
    if found != locked:
        changed = sorted({line.split()[-1] for line in set(found.splitlines()) ^ set(locked.splitlines())})
        raise ToolMissingError(
            expected=f"the jars of {lock}",
            found=f"differences in {', '.join(changed[:5]) or 'nothing'} ({len(changed)} files)",
            do="Ask the repository's owner, or lock them anew with `make lock` when you meant to change them.",
        )
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ivy / "jars", folder)
    return "resolved"


def resolve(ivy: Path, *, java: Java, host: Mapping[str, str]) -> None:
    """Let Spark's Ivy fetch the packages into `ivy/jars`.

    Raises:
        ToolMissingError: It could not.
    """
    shutil.rmtree(ivy / "jars", ignore_errors=True)
    options = [f"-Duser.home={ivy}", *java.trust_options()]
    words = ["--packages", ",".join(PACKAGES), "--conf", f"spark.jars.excludes={','.join(EXCLUDES)}"]
    words += ["--conf", f"spark.jars.ivy={ivy}", "--driver-java-options", " ".join(options), "pyspark-shell"]
    environment = {
        **base_environment(host),
        **tls_environment(host),
        "JAVA_HOME": str(java.home),
        "PYSPARK_SUBMIT_ARGS": shlex.join(words),
        # The launcher of Spark starts a Java too, and that one reads no Spark options.
        "JDK_JAVA_OPTIONS": " ".join([*java.trust_options(), host.get("JDK_JAVA_OPTIONS", "")]).strip(),
    }
    ivy.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(
            [sys.executable, "-c", RESOLVE],
            env=environment,
            capture_output=True,
            text=True,
            timeout=RESOLVE_SECONDS,
            check=False,
        )
        problem = "" if done.returncode == 0 else (done.stderr.strip()[-800:] or f"exit code {done.returncode}")
    except subprocess.TimeoutExpired:
        problem = f"no end after {RESOLVE_SECONDS} seconds"
    if problem:
        raise ToolMissingError(
            expected="Spark's Ivy to fetch Delta and S3 support",
            found=f"an error:\n{problem}",
            do="Check the network and the trusted certificates of Java, then run make again.",
        )


def describe(folder: Path) -> str:
    """Return the lock of the jars in `folder`: a line for each, sorted by name."""
    lines = [f"{_digest(path)}  {path.name}\n" for path in sorted(folder.glob("*.jar"))]
    return "".join(lines)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
