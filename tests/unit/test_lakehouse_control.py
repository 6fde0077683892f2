"""Progress and run reports on DynamoDB (moto)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from lakehouse.control import Progress, RunReports

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

START = datetime(2024, 6, 25, 12, tzinfo=UTC)


def test_progress_never_moves_back(dynamodb: DynamoDBClient, control_table: str) -> None:
    progress = Progress(dynamodb, control_table)
    assert progress.read("kpis") is None
    for version, moved, stands_at in [(0, True, 0), (9, True, 9), (10, True, 10), (9, False, 10), (10, False, 10)]:
        assert progress.advance("kpis", version=version, run_id="r") is moved
        assert progress.read("kpis") == stands_at
    assert progress.read("serving") is None


def test_reports_come_back_oldest_first_and_expire_after_30_days(dynamodb: DynamoDBClient, control_table: str) -> None:
    reports = RunReports(dynamodb, control_table)
    # Four of 350 kB: more than the 1 MB of one page of a query.
    for number in (2, 0, 3, 1):
        started_at = START + timedelta(milliseconds=500 * number)
        body = {"number": number, "at": started_at, "text": "x" * 350_000}
        reports.publish("job", f"run-{number}", body, started_at=started_at)
    reports.publish("other", "run-9", {"number": 9}, started_at=START)
    found = reports.list("job")
    assert [report["number"] for report in found] == [0, 1, 2, 3]
    assert found[0]["at"] == "2024-06-25 12:00:00+00:00"
    assert reports.list("none") == []
    key = {"pk": {"S": "run#other"}, "sk": {"S": "2024-06-25T12:00:00+00:00#run-9"}}
    item = dynamodb.get_item(TableName=control_table, Key=key)["Item"]
    assert item["expires_at"] == {"N": str(int(datetime(2024, 7, 25, 12, tzinfo=UTC).timestamp()))}
