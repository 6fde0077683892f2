"""Warm Spark sessions for measuring, configured as the laptop's cloud configures its jobs."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyspark.sql import SparkSession

from lakehouse.spark import build_session
from local_cloud import lifecycle
from local_cloud.cloud import Cloud
from local_cloud.options import CloudOptions
from local_cloud.spark_conf import write_spark_conf
from local_cloud.state import PROJECT
from local_cloud.toolchain import Toolchain


def told(what: str, began: float) -> float:
    """Tell on stderr what took how long, so that a long benchmark is seen to go on; return the seconds."""
    seconds = time.monotonic() - began
    sys.stderr.write(f"{what}: {seconds:.2f} s\n")
    return seconds


@contextmanager
def session_without_cloud(*, driver_memory: str) -> Iterator[tuple[SparkSession, Path]]:
    """A session that reaches files only, and an empty folder; both are gone afterwards."""
    tools = Toolchain.load(PROJECT / ".tools")
    with tempfile.TemporaryDirectory() as name:
        options = CloudOptions(driver_memory=driver_memory)
        conf = write_spark_conf(Path(name), endpoint="http://127.0.0.1:9", jars=tools.jars, options=options)
        variables = {"SPARK_CONF_DIR": str(conf), "JAVA_HOME": str(tools.java_home), "PYSPARK_PYTHON": sys.executable}
        with _session(variables) as spark:
            yield spark, Path(name)


@contextmanager
def session_on_cloud(options: CloudOptions) -> Iterator[tuple[Cloud, SparkSession, Path]]:
    """A cloud of its own, a session that reaches it, and an empty folder; all are gone afterwards."""
    with (
        tempfile.TemporaryDirectory() as name,
        lifecycle.up(Path(name) / "cloud", options=options) as cloud,
        _session(cloud.environment) as spark,
    ):
        yield cloud, spark, Path(name)


@contextmanager
def _session(variables: dict[str, str]) -> Iterator[SparkSession]:
    os.environ |= variables
    spark = build_session("benchmarks")
    try:
        yield spark
    finally:
        spark.stop()
