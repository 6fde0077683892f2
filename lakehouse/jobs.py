"""The moves every job shares: settings, lease, session, `run(...)`, report, exit code.

An entry point is one call of `run_job`; the same file runs under Glue, `spark-submit` and `python -m`.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import boto3
from botocore.config import Config

from lakehouse import log
from lakehouse.boundaries import Boundaries
from lakehouse.control import Progress, RunReports
from lakehouse.errors import ListenlakeError
from lakehouse.leases import Lease
from lakehouse.settings import JobSettings
from lakehouse.spark import build_session

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client
    from pyspark.sql import SparkSession

logger = logging.getLogger(__name__)

AWS_CONFIG = Config(retries={"mode": "standard", "max_attempts": 8}, max_pool_connections=32)

S = TypeVar("S", bound=JobSettings)


@dataclass
class Report:
    """Counts, facts and seconds by phase of one run."""

    facts: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time spent inside the block to phase `name`."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - began, 3)


@dataclass(frozen=True, kw_only=True)
class Run(Generic[S]):
    """Everything one run of a job works with; handed to the job's `run` function."""

    id: str
    settings: S
    spark: SparkSession
    s3: S3Client
    dynamodb: DynamoDBClient
    lease: Lease
    progress: Progress
    boundaries: Boundaries
    report: Report
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


def run_job(
    settings_type: type[S],
    run: Callable[[Run[S]], None],
    *,
    arguments: Sequence[str],
    environment: Mapping[str, str],
) -> int:
    """Run a job from its arguments to its exit code.

    Args:
        settings_type: The job's settings record.
        run: The work itself.
        arguments: Command-line arguments without the program's name.
        environment: Usually `os.environ`.

    Returns:
        0 when the work is done, 1 when it failed with a message, 2 when the settings are wrong. An error that nobody
        foresaw is raised, with its trace; under Glue every error is, because Glue takes a run's `ErrorMessage` from
        what is raised and makes nothing more of an exit code than `SystemExit: 1`.
    """
    log.configure()
    try:
        settings = settings_type.parse(arguments, environment)
        _run_and_report(settings, run, run_id=_run_id(arguments))
    except ListenlakeError as error:
        logger.error(str(error), extra={"job": settings_type.program, "error": type(error).__name__})
        if _glue_run_id(arguments):
            raise
        return error.exit_code
    return 0


@contextmanager
def leased_run(
    settings: S, *, run_id: str, session: Callable[[], SparkSession], s3: S3Client, dynamodb: DynamoDBClient
) -> Iterator[Run[S]]:
    """Hold the job's lease and give the run that works under it; the session is built once the lease is held.

    Raises:
        LeaseHeldError: Another run of the job is alive.
    """
    report = Report()
    with Lease(dynamodb, table=settings.control_table, job=settings.program, run_id=run_id) as lease:
        with report.phase("session"):
            spark = session()
        yield Run(
            id=run_id,
            settings=settings,
            spark=spark,
            s3=s3,
            dynamodb=dynamodb,
            lease=lease,
            progress=Progress(dynamodb, settings.control_table),
            boundaries=Boundaries(settings.kill_at),
            report=report,
        )


def _run_and_report(settings: S, run: Callable[[Run[S]], None], *, run_id: str) -> None:
    job = settings.program
    started_at = datetime.now(UTC)
    s3, dynamodb = boto3.client("s3", config=AWS_CONFIG), boto3.client("dynamodb", config=AWS_CONFIG)
    with leased_run(settings, run_id=run_id, session=lambda: build_session(job), s3=s3, dynamodb=dynamodb) as held:
        try:
            run(held)
        finally:
            held.spark.stop()
    finished_at = datetime.now(UTC)
    facts = {"run_id": run_id, "started_at": started_at, "finished_at": finished_at, **held.report.facts}
    facts["seconds"] = held.report.seconds
    RunReports(dynamodb, settings.control_table).publish(job, run_id, facts, started_at=started_at)
    logger.info("run finished", extra={"job": job, "report": facts})


def _run_id(arguments: Sequence[str]) -> str:
    """Glue hands the id of its run over; any other way of starting gets an id of its own."""
    return _glue_run_id(arguments) or f"run-{uuid.uuid4().hex[:12]}"


def _glue_run_id(arguments: Sequence[str]) -> str:
    return next((value for name, value in pairwise(arguments) if name == "--JOB_RUN_ID"), "")
