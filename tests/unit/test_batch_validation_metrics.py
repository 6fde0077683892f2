"""The lines of validation_metrics.csv: one per run that consumed something, whatever was interrupted."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, Final

import pytest
from botocore.exceptions import ClientError

from batch_jobs.validation_metrics import append_line, with_line

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

KEY: Final = "logs/validation_metrics.csv"
HEADER: Final = (
    "timestamp,total_rows,valid_rows,dropped_rows,user_id_null,track_name_null,track_genre_null,listen_time_null,"
    "listen_date_null,duration_ms_not_positive,run_id,table_version,mode"
)


def line(run_id: str, version: int, mode: str = "incremental", total: int = 3) -> dict[str, str]:
    counts = {"total_rows": str(total), "valid_rows": str(total), "dropped_rows": "0"}
    rules = {name: "0" for name in HEADER.split(",") if name.endswith(("_null", "_positive"))}
    told = {"timestamp": "2024-07-01T12:00:00+00:00", "run_id": run_id, "table_version": str(version), "mode": mode}
    return {name: (told | counts | rules)[name] for name in HEADER.split(",")}


@pytest.mark.parametrize(
    ("lines", "new", "consumed_before", "kept"),
    [
        ([], line("r1", 1), -1, []),
        ([line("r1", 1)], line("r2", 4), 1, ["r1"]),
        # r2 wrote its line and died before it recorded its progress: its rows are counted again.
        ([line("r1", 1), line("r2", 4)], line("r3", 4), 1, ["r1"]),
        ([line("r1", 1), line("r2", 4)], line("r3", 6), 1, ["r1"]),
        ([line("r1", 1), line("r2", 4), line("r3", 5)], line("r4", 6), 1, ["r1"]),
        # The first run ever died after its line.
        ([line("r1", 0)], line("r2", 0), -1, []),
        # A recompute counts nothing anew, so its line stays, and it removes no other.
        ([line("r1", 4), line("r2", 4, "recompute")], line("r3", 6), 4, ["r1", "r2"]),
        ([line("r1", 4)], line("r2", 4, "recompute"), 4, ["r1"]),
        # The same run again: one line.
        ([line("r1", 4), line("r2", 4, "recompute")], line("r2", 4, "recompute"), 4, ["r1"]),
        # Version ten is beyond version nine, as numbers.
        ([line("r1", 9), line("r2", 10)], line("r3", 10), 9, ["r1"]),
    ],
)
def test_which_lines_stay(
    lines: list[dict[str, str]], new: dict[str, str], consumed_before: int, kept: list[str]
) -> None:
    found = with_line(lines, new, consumed_before=consumed_before)
    assert [one["run_id"] for one in found] == [*kept, new["run_id"]]
    assert found[-1] == new


def test_the_file_has_its_header_once_and_a_line_per_run(s3: S3Client, raw_bucket: str) -> None:
    append_line(s3, raw_bucket, KEY, line("r1", 1), consumed_before=-1)
    append_line(s3, raw_bucket, KEY, line('r"2", 夜', 4, total=9), consumed_before=1)
    text = s3.get_object(Bucket=raw_bucket, Key=KEY)["Body"].read().decode()
    assert text.splitlines()[0] == HEADER
    assert list(csv.DictReader(io.StringIO(text, newline=""))) == [line("r1", 1), line('r"2", 夜', 4, total=9)]


class Interrupted:
    """S3 where somebody else writes the file between this run's read and its write."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self.client, self.bucket = client, bucket

    def get_object(self, **arguments: Any) -> Any:
        try:
            return self.client.get_object(**arguments)
        finally:
            self.client.put_object(Bucket=self.bucket, Key=KEY, Body=b"somebody else's")

    def put_object(self, **arguments: Any) -> Any:
        return self.client.put_object(**arguments)


@pytest.mark.parametrize("exists", [False, True])
def test_a_line_of_somebody_else_is_never_overwritten(s3: S3Client, raw_bucket: str, exists: bool) -> None:
    if exists:
        append_line(s3, raw_bucket, KEY, line("r1", 1), consumed_before=-1)
    interrupted: Any = Interrupted(s3, raw_bucket)
    with pytest.raises(ClientError, match="PreconditionFailed"):
        append_line(interrupted, raw_bucket, KEY, line("r2", 4), consumed_before=1)
    assert s3.get_object(Bucket=raw_bucket, Key=KEY)["Body"].read() == b"somebody else's"
