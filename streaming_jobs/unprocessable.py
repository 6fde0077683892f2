"""Writes a micro-batch that fails as a whole without the records that fail alone, and sets those aside.

What must hold: each record of the batch is in exactly one of the parts, or rejected as `unprocessable`, event by
event. Their reject rows are made without Spark, since Spark is what failed on them.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from itertools import count
from operator import add
from typing import Any, Final

import pyarrow as pa
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException, PythonException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakehouse import events
from lakehouse.bad_records import BadRecord, Position, fingerprint_of
from lakehouse.batches import BatchFile
from streaming_jobs.batch_parts import Content, Part
from streaming_jobs.isolation import write_apart
from streaming_jobs.kinesis_source.rows import ARROW_SCHEMA
from streaming_jobs.outcome_files import Judge, PartWriter, rejects_folder
from streaming_jobs.parsing import placed

logger = logging.getLogger(__name__)

SPARK_FAILURES: Final = (Py4JJavaError, PySparkException)
"""What an action raises when a task fails, whatever it failed on: the two ways in which PySpark hands it on."""
_RAISED_IN_PYTHON: Final = re.compile(r"Traceback \(most recent call last\):\n(?:[ \t].*\n)+([A-Za-z_][\w.]*)")
"""The first unindented line of the first traceback begins with the class; the message comes after it."""
_REASON: Final = "unprocessable"
_KEY: Final = "record_key"


def write_without_unprocessable(
    writer: PartWriter,
    records: DataFrame,
    attempt: str,
    *,
    judge: Judge,
    may_go_on: Callable[[], None],
) -> Part:
    """Write a batch apart and its unprocessable records to `bad-records/`.

    Args:
        writer: Of the batch.
        records: Columns of `parsing.placed`; read once.
        attempt: Folder of this attempt, below which each part has its own.
        judge: Judges records, as `parsing.parse_batches` does.
        may_go_on: Called before each part; raises when there is to be no further one.

    Raises:
        TooManyUnprocessableError: More records than the settings allow fail alone.
    """
    numbers = count(1)
    keyed = records.withColumn(_KEY, F.xxhash64("shard_id", "sequence_number")).persist()

    def write(keys: Sequence[int]) -> Part:
        may_go_on()
        some = keyed.where(F.col(_KEY).between(keys[0], keys[-1])).drop(_KEY)
        return writer.write(some, f"{attempt}/apart-{next(numbers)}/", judge)

    def probe() -> None:
        # No manifest names what it writes; the archive removes it with the attempts that lost.
        writer.write(_good_record(writer), f"{attempt}/probe-{next(numbers)}/", judge)

    try:
        # Collects eight bytes a record.
        keys = sorted(set(keyed.select(_KEY).toArrow()[_KEY].to_pylist()))
        limit = writer.run.settings.max_unprocessable
        apart = write_apart(keys, write, failures=SPARK_FAILURES, probe=probe, limit=limit)
        failed = apart.unprocessable
        # Collects no more records than the settings allow.
        found = keyed.where(F.col(_KEY).isin(list(failed))).toArrow().to_pylist() if failed else []
    finally:
        keyed.unpersist()
    rejected = [(record, class_of_failure(failed[record[_KEY]])) for record in found]
    for record, failure in rejected:
        place = {"shard": record["shard_id"], "sequence_number": record["sequence_number"]}
        logger.warning("record is unprocessable", extra={"batch": writer.batch.path, **place, "error": failure})
    parts = [*apart.parts, *([_write_rejects(writer, attempt, rejected)] if rejected else [])]
    return reduce(add, parts, Part(contents={}))


def class_of_failure(error: Exception) -> str:
    """Return the class of the exception that began it; never its message, which may quote the payload."""
    if isinstance(error, Py4JJavaError):
        origin = error.java_exception
        while (cause := origin.getCause()) is not None:
            origin = cause
        return str(origin.getClass().getName())
    # What a Python worker raised comes as the text of its traceback.
    raised = _RAISED_IN_PYTHON.search(str(error)) if isinstance(error, PythonException) else None
    return raised[1] if raised else type(error).__name__


def rejects_of(record: Mapping[str, Any], *, failure: str, batch: str) -> list[BadRecord]:
    """Return the rejects of one record, one for each event.

    Args:
        record: Columns of `parsing.placed`.
        failure: Class of the exception.
        batch: Path of the micro-batch.
    """
    message = f"{events.ISOLATION_REASONS[_REASON]}: {failure}"
    return [
        BadRecord(
            reason=_REASON,
            message=message,
            data=data,
            position=Position(record["stream"], record["shard_id"] or "", record["sequence_number"], line),
            arrived_at=record["arrived_at"],
            source_batch=batch,
            fingerprint=fingerprint_of(_REASON, message),
        )
        for line, data in events.split_events(record["data"])
    ]


def _write_rejects(writer: PartWriter, attempt: str, rejected: list[tuple[Mapping[str, Any], str]]) -> Part:
    path = writer.batch.path
    bad = [one for record, failure in rejected for one in rejects_of(record, failure=failure, batch=path)]
    key = f"{rejects_folder(path)}{attempt}/unprocessable.json"
    body = b"".join(one.to_json() for one in bad)
    answer = writer.run.s3.put_object(Bucket=writer.run.settings.raw_bucket, Key=key, Body=body)
    content = Content(
        rows=len(bad),
        payload_bytes=sum(len(one.data) for one in bad),
        oldest=min(record["arrived_at"] for record, _ in rejected),
    )
    return Part(rejects=(BatchFile(key, len(body), answer["ETag"].strip('"')),), contents={_REASON: content})


def _good_record(writer: PartWriter) -> DataFrame:
    """One record that is known to be good."""
    now = writer.run.now()
    event = {"user_id": 0, "track_id": "probe", "listen_time": now.isoformat(timespec="seconds")}
    record: dict[str, Any] = {
        "data": json.dumps(event).encode(),
        "sequenceNumber": "0",
        "approximateArrivalTimestamp": now,
        **dict.fromkeys(("streamName", "shardId", "partitionKey"), "probe"),
    }
    return placed(writer.run.spark.createDataFrame(pa.Table.from_pylist([record], ARROW_SCHEMA)))
