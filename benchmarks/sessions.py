"""Warm Spark sessions for measuring, configured as the laptop's cloud configures its jobs."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pyspark.sql import SparkSession

from lakehouse.delta_log import snapshot_of
from lakehouse.jobs import Report, Run, leased_run
from lakehouse.lake_tables import DATE, LakeTable
from lakehouse.settings import JobSettings
from lakehouse.spark import build_session
from local_cloud import lifecycle
from local_cloud.cloud import Cloud
from local_cloud.environment import spark_environment
from local_cloud.options import CloudOptions
from local_cloud.spark_conf import write_spark_conf
from local_cloud.state import PROJECT
from local_cloud.toolchain import Toolchain

S = TypeVar("S", bound=JobSettings)


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
        write_spark_conf(Path(name), endpoint="http://127.0.0.1:9", jars=tools.jars, options=options)
        with _session(spark_environment(Path(name), tools)) as spark:
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


def run_job_here(
    cloud: Cloud, spark: SparkSession, settings_type: type[S], job: Callable[[Run[S]], None], **others: Any
) -> Report:
    """Run a job on the places of a cloud, in a session and with clients that are there already; return its report."""
    names = {item.name: getattr(cloud.places, item.name) for item in fields(cloud.places)}
    settings = settings_type(**names, **others)
    with leased_run(settings, run_id="benchmark", session=lambda: spark, **_clients(cloud)) as run:
        job(run)
    return run.report


def copy_files(cloud: Cloud, table: LakeTable, folder: Path, *, day: date | None = None) -> list[str]:
    """Copy the files of a table as it is now, or those of one date, into a new folder; return their paths."""
    folder.mkdir()
    s3, paths = cloud.client("s3"), []
    for number, file in enumerate(snapshot_of(s3, table, cloud.places).files.values()):
        if day is None or file.partition[DATE] == day.isoformat():
            paths.append(str(folder / f"{number}.parquet"))
            s3.download_file(table.bucket(cloud.places), file.key, paths[-1])
    return paths


@cache
def _clients(cloud: Cloud) -> Any:
    return {name: cloud.client(name) for name in ("s3", "dynamodb")}


@contextmanager
def _session(variables: dict[str, str]) -> Iterator[SparkSession]:
    os.environ |= variables
    spark = build_session("benchmarks")
    try:
        yield spark
    finally:
        spark.stop()
