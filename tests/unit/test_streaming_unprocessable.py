"""Reject rows of records that can't be processed, and the class of what went wrong: never a word of a payload."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException, PythonException

from lakehouse.bad_records import REPLAYABLE, BadRecord
from lakehouse.tables import REJECTED_RECORDS
from streaming_jobs.unprocessable import class_of_failure, rejects_of

ARRIVED = datetime(2024, 6, 25, 18, 0, 0, 250_000, tzinfo=UTC)
RECORD: dict[str, Any] = {
    "stream": "listens",
    "shard_id": "shardId-000000000000",
    "sequence_number": "7",
    "arrived_at": ARRIVED,
}


def rejects(data: bytes, **others: Any) -> list[BadRecord]:
    return rejects_of({**RECORD, "data": data, **others}, failure="a.b.CError", batch="generation=g/batch=1/")


def test_each_event_of_the_record_is_a_reject_that_can_be_read_and_replayed() -> None:
    found = [one.to_json() for one in rejects(b'{"a":1}\n{"b":"\xff"}\n{}')]
    assert all(json.loads(line).keys() <= set(REJECTED_RECORDS.columns) for line in found)
    records = [BadRecord.from_json(line) for line in found]
    assert [record.data for record in records] == [b'{"a":1}', b'{"b":"\xff"}', b"{}"]
    assert [record.position.line for record in records] == [1, 2, 3]
    assert {record.position[:3] for record in records} == {("listens", "shardId-000000000000", "7")}
    assert {record.arrived_at for record in records} == {ARRIVED}
    assert {record.reason for record in records} < REPLAYABLE
    assert all(record.message.endswith(": a.b.CError") for record in records)
    assert len({record.fingerprint for record in records}) == 1


def test_a_source_that_names_no_shard_leaves_it_out() -> None:
    [one] = rejects(b"{}", shard_id=None)
    assert "shard_id" not in json.loads(one.to_json())
    assert BadRecord.from_json(one.to_json()).position.shard_id == ""


def java(name: str, cause: Any = None) -> Any:
    return SimpleNamespace(
        _target_id="o1",
        _gateway_client=None,
        getCause=lambda: cause,
        getClass=lambda: SimpleNamespace(getName=lambda: name),
    )


TRACEBACK = """
  An exception was thrown from the Python worker. Please see the stack trace below.
Traceback (most recent call last):
  File "streaming_jobs/parsing.py", line 7, in judge
    raise ValueError(payload)
builtins.ValueError: a secret
Hidden: also a secret

During handling of the above exception, another exception occurred:
Traceback (most recent call last):
  File "streaming_jobs/parsing.py", line 9, in judge
    raise
KeyError: 'a secret'
"""


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (
            Py4JJavaError("", java("org.apache.spark.SparkException", java("java.io.IOException"))),
            "java.io.IOException",
        ),
        (PySparkException("a secret"), "PySparkException"),
        (PythonException(TRACEBACK), "builtins.ValueError"),
        (PythonException("a secret"), "PythonException"),
    ],
)
def test_the_class_of_what_began_it_is_told_and_nothing_else(error: Exception, name: str) -> None:
    assert class_of_failure(error) == name
