"""The control table: one DynamoDB table (`pk`, `sk`) for leases, trigger counters, progress and run reports.

| pk | sk | what |
| --- | --- | --- |
| `lease` | job | who may write now (`lakehouse.leases`) |
| `counter` | request | requested and succeeded (`lambdas.start_jobs`) |
| `progress` | name | the version up to which a consumer has finished |
| `run#<job>` | start time, run id | the report of a finished run, for 30 days |
| `batch#<job>` | commit time, batch | what a micro-batch did, for 30 days (`lakehouse.batch_reports`) |
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

REPORT_RETENTION: Final = timedelta(days=30)
CONSUMED: Final = "consumed#latest"
"""Progress of `kpi_transformation`: the curated version that its last complete run went up to."""


def served_name(table: str) -> str:
    """Return the name of the progress of serving: the version of a presentation table that DynamoDB holds."""
    return f"served#{table}"


def dimension_name(table: str) -> str:
    """Return the name of the progress of re-entry: the version of a dimension whose newcomers were let in."""
    return f"dimension#{table}"


@dataclass(frozen=True)
class Progress:
    """Version-valued progress records of the consumers of Delta tables."""

    client: DynamoDBClient
    table: str

    def read(self, name: str) -> int | None:
        """Return the version up to which `name` has finished, or None before its first run."""
        key: dict[str, Any] = {"pk": {"S": "progress"}, "sk": {"S": name}}
        item = self.client.get_item(TableName=self.table, Key=key, ConsistentRead=True).get("Item")
        return int(item["version"]["N"]) if item else None

    def advance(self, name: str, *, version: int, run_id: str) -> bool:
        """Record that `name` has finished up to `version`; never moves back.

        Returns:
            False when the record already stood at `version` or beyond.
        """
        try:
            self.client.update_item(
                TableName=self.table,
                Key={"pk": {"S": "progress"}, "sk": {"S": name}},
                UpdateExpression="SET version = :v, run_id = :r",
                ConditionExpression="attribute_not_exists(version) OR version < :v",
                ExpressionAttributeValues={":v": {"N": str(version)}, ":r": {"S": run_id}},
            )
        except self.client.exceptions.ConditionalCheckFailedException:
            return False
        return True


@dataclass(frozen=True)
class RunReports:
    """Reports of finished runs, kept for `REPORT_RETENTION`."""

    client: DynamoDBClient
    table: str

    def publish(self, job: str, run_id: str, report: dict[str, Any], *, started_at: datetime) -> None:
        """Keep one run's report."""
        expires = int((started_at + REPORT_RETENTION).timestamp())
        self.client.put_item(
            TableName=self.table,
            Item={
                "pk": {"S": f"run#{job}"},
                "sk": {"S": f"{started_at.isoformat()}#{run_id}"},
                "report": {"S": json.dumps(report, default=str, sort_keys=True)},
                "expires_at": {"N": str(expires)},
            },
        )

    def list(self, job: str) -> list[dict[str, Any]]:
        """Return the kept reports of `job`, oldest first."""
        pages = self.client.get_paginator("query").paginate(
            TableName=self.table,
            KeyConditionExpression="pk = :p",
            ExpressionAttributeValues={":p": {"S": f"run#{job}"}},
            ConsistentRead=True,
        )
        return [json.loads(item["report"]["S"]) for page in pages for item in page["Items"]]
