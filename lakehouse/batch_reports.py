"""What each micro-batch did, kept in the control table so that anyone can ask without a log or a metrics service.

One item per committed batch, for 30 days. It is written after the batch's manifest; a run that dies between the two
writes it when the batch is replayed, then without the seconds, which died with it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from lakehouse.batches import Manifest
from lakehouse.control import REPORT_RETENTION

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@dataclass(frozen=True, kw_only=True)
class BatchReport:
    """Figures of one micro-batch.

    Attributes:
        batch: Its path, which names it.
        committed_at: When its manifest was written.
        accepted: Listens, duplicates included.
        rejected: Rejects by reason.
        payload_bytes: Bytes of all events; None when nobody could measure.
        late_events: Events that arrived late, taken or not; None likewise.
        future_events: Events that arrived before their listen, taken or not; None likewise.
        lag_seconds: Age of the oldest record when the batch was committed; None likewise.
        seconds: Time spent by phase.
    """

    batch: str
    committed_at: datetime
    accepted: int
    rejected: dict[str, int]
    payload_bytes: int | None = None
    late_events: int | None = None
    future_events: int | None = None
    lag_seconds: float | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        """Return what a manifest says of its batch."""
        return cls(
            batch=manifest.id.path,
            committed_at=manifest.committed_at,
            accepted=manifest.rows or 0,
            rejected=manifest.rejected,
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `BatchReports.publish` wrote."""
        value: dict[str, Any] = json.loads(text)
        return cls(**value | {"committed_at": datetime.fromisoformat(value["committed_at"])})


@dataclass(frozen=True)
class BatchReports:
    """Reports of the micro-batches of one job."""

    client: DynamoDBClient
    table: str
    job: str

    def publish(self, report: BatchReport) -> None:
        """Keep a batch's report, unless it is kept already."""
        try:
            self.client.put_item(
                TableName=self.table,
                Item={
                    "pk": {"S": f"batch#{self.job}"},
                    "sk": {"S": f"{report.committed_at.isoformat()}#{report.batch}"},
                    "report": {"S": json.dumps(asdict(report), default=datetime.isoformat)},
                    "expires_at": {"N": str(int((report.committed_at + REPORT_RETENTION).timestamp()))},
                },
                ConditionExpression="attribute_not_exists(pk)",
            )
        except self.client.exceptions.ConditionalCheckFailedException:
            return

    def latest(self) -> BatchReport | None:
        """Return the newest batch, None before the first one."""
        found = self.client.query(**self._query(), ScanIndexForward=False, Limit=1)["Items"]
        return BatchReport.from_json(found[0]["report"]["S"]) if found else None

    def since(self, moment: datetime) -> list[BatchReport]:
        """Return the batches committed since `moment`, oldest first."""
        pages = self.client.get_paginator("query").paginate(**self._query(moment))
        return [BatchReport.from_json(item["report"]["S"]) for page in pages for item in page["Items"]]

    def _query(self, moment: datetime | None = None) -> Any:
        values = {":p": {"S": f"batch#{self.job}"}}
        condition = "pk = :p"
        if moment is not None:
            values[":m"] = {"S": moment.isoformat()}
            condition += " AND sk >= :m"
        return {
            "TableName": self.table,
            "KeyConditionExpression": condition,
            "ExpressionAttributeValues": values,
            "ConsistentRead": True,
        }
