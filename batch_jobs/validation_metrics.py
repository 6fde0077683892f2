"""`logs/validation_metrics.csv`: one line per run that consumed something, whatever was retried.

S3 has no append. The file is read, and written back under the condition that nobody else has written meanwhile.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from lakehouse import layout
from lakehouse.jobs import Run
from lakehouse.settings import KpiSettings
from lakehouse.tables import VALIDATION_METRICS_HEADER

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Line = dict[str, str]


def with_line(lines: list[Line], line: Line, *, consumed_before: int) -> list[Line]:
    """Return the lines with `line` added, in place of what interrupted runs left behind.

    Args:
        lines: Lines so far.
        line: The new one.
        consumed_before: Table version that the last complete run had reached. An incremental line beyond it belongs
            to a run that did not finish; its rows are counted again in `line`.
    """
    kept = [
        old
        for old in lines
        if not (old["mode"] == "incremental" and int(old["table_version"]) > consumed_before)
        and old["run_id"] != line["run_id"]
    ]
    return [*kept, line]


def append_line(s3: S3Client, bucket: str, key: str, line: Line, *, consumed_before: int) -> None:
    """Add the line of one run to the file; see `with_line`."""
    lines, condition = _read(s3, bucket, key)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, VALIDATION_METRICS_HEADER)
    writer.writeheader()
    writer.writerows(with_line(lines, line, consumed_before=consumed_before))
    s3.put_object(Bucket=bucket, Key=key, Body=text.getvalue().encode(), ContentType="text/csv", **condition)


def append_metrics(run: Run[KpiSettings], metrics: dict[str, int], *, version: int, consumed_before: int) -> None:
    """Add the line of this run, and its counts to the report.

    Args:
        run: The run.
        metrics: Counts of the listens that it looked at, by name of the column.
        version: Curated version that they are of.
        consumed_before: See `with_line`.
    """
    told = {
        "timestamp": run.now().isoformat(timespec="seconds"),
        "run_id": run.id,
        "table_version": str(version),
        "mode": run.settings.mode,
    }
    line = {name: told.get(name) or str(metrics[name]) for name in VALIDATION_METRICS_HEADER}
    bucket = run.settings.presentation_bucket
    append_line(run.s3, bucket, layout.VALIDATION_METRICS_KEY, line, consumed_before=consumed_before)
    run.report.facts["validation"] = metrics


def _read(s3: S3Client, bucket: str, key: str) -> tuple[list[Line], dict[str, Any]]:
    try:
        answer = s3.get_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchKey":
            raise
        return [], {"IfNoneMatch": "*"}
    text = answer["Body"].read().decode()
    return list(csv.DictReader(io.StringIO(text, newline=""))), {"IfMatch": answer["ETag"]}
