"""The log line of a micro-batch, read as CloudWatch reads it: every metric it declares is a number at the root."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

from lakehouse.batch_reports import BatchReport
from lakehouse.log import JsonFormatter
from streaming_jobs.batch_metrics import embedded

NOW = datetime(2024, 6, 25, 18, 0, 0, 250_000, tzinfo=UTC)
REPORT = BatchReport(
    batch="generation=g/batch=7/",
    committed_at=NOW,
    accepted=5,
    rejected={"invalid_json": 2, "oversize": 1},
    payload_bytes=900,
    late_events=3,
    future_events=1,
    lag_seconds=1.25,
    seconds={"write": 0.5, "commit": 0.125},
)


def logged() -> dict[str, Any]:
    record = logging.makeLogRecord({"msg": "micro-batch", **embedded(REPORT, job="ingest_listens")})
    line: dict[str, Any] = json.loads(JsonFormatter().format(record))
    return line


def test_every_declared_metric_and_dimension_is_a_member_of_the_line() -> None:
    line = logged()
    [directive] = line["_aws"]["CloudWatchMetrics"]
    found = {metric["Name"]: (line[metric["Name"]], metric["Unit"]) for metric in directive["Metrics"]}
    assert found == {
        "accepted": (5, "Count"),
        "rejected": (3, "Count"),
        "rejected_invalid_json": (2, "Count"),
        "rejected_oversize": (1, "Count"),
        "payload_bytes": (900, "Bytes"),
        "late_events": (3, "Count"),
        "future_events": (1, "Count"),
        "lag_seconds": (1.25, "Seconds"),
        "write_seconds": (0.5, "Seconds"),
        "commit_seconds": (0.125, "Seconds"),
    }
    assert [[line[name] for name in names] for names in directive["Dimensions"]] == [["ingest_listens"]]


def test_the_time_is_in_milliseconds() -> None:
    assert logged()["_aws"]["Timestamp"] == 1_719_338_400_250
