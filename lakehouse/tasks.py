"""What code needs that writes files from Spark's tasks: pieces large enough for one, and a client to put them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING

import boto3
import pyarrow as pa

from lakehouse.jobs import AWS_CONFIG

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@cache
def s3_of_task() -> S3Client:
    """Return the one client of a worker process, which lives for many tasks."""
    return boto3.client("s3", config=AWS_CONFIG)


def in_pieces(
    batches: Iterable[pa.RecordBatch], *, enough: int, size_of: Callable[[pa.RecordBatch], int]
) -> Iterator[tuple[pa.Table, int]]:
    """Yield the rows in pieces, each with its size: what reaches `enough`, and at the end what is left, if any."""
    waiting: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        waiting.append(batch)
        size += size_of(batch)
        if size >= enough:
            yield pa.Table.from_batches(waiting), size
            waiting, size = [], 0
    if any(map(len, waiting)):
        yield pa.Table.from_batches(waiting), size
