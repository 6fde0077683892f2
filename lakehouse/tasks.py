"""What code needs that runs in Spark's tasks: clients that live as long as the worker process."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import boto3

from lakehouse.jobs import AWS_CONFIG

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@cache
def s3_of_task() -> S3Client:
    """Return the one client of a worker process, which lives for many tasks."""
    return boto3.client("s3", config=AWS_CONFIG)
