"""One Spark session for all tests of a process."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest

from lakehouse.spark import build_session

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

FOR_TENS_OF_ROWS: Final = {
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
}
"""Compiling a query takes longer than running it over so few rows; the e2e tests run the jobs as they are shipped."""


@contextmanager
def spark_session(environment: Mapping[str, str]) -> Iterator[SparkSession]:
    """A session whose JVM was started with `environment`; JVM and sockets are gone afterwards."""
    from pyspark import SparkContext  # noqa: PLC0415 - slow, and only who runs Spark pays

    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        session = build_session("tests")
    for name, value in FOR_TENS_OF_ROWS.items():
        session.conf.set(name, value)
    try:
        yield session
    finally:
        session.stop()
        gateway: Any = SparkContext._gateway
        gateway.shutdown()
        jvm: subprocess.Popen[bytes] = gateway.proc
        if jvm.stdin is not None:
            jvm.stdin.close()
        jvm.wait(30)
        SparkContext._gateway = SparkContext._jvm = None
        os.environ.pop("PYSPARK_GATEWAY_PORT", None)


def forget_tables(spark: SparkSession) -> None:
    """Empty the caches that would hold every Delta table of every test until the heap is full."""
    jvm: Any = spark._jvm
    jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()
    spark.catalog.clearCache()
