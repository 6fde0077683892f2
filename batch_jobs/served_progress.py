"""How far a presentation table is served: the control table's `progress` records `served#<table>`.

| attribute | what |
| --- | --- |
| `version` | newest commit that is served; `BEFORE_ANY` while the whole table is still to be served |
| `version_offset` | what is added to a commit's version to give an item's `source_version`; grows with each rebuild |
| `table_id` | identity of the Delta table, so that another one in its place is noticed |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lakehouse.control import served_name

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@dataclass(frozen=True)
class Served:
    """One table's record."""

    version: int
    version_offset: int
    table_id: str

    @property
    def source_version(self) -> int:
        """The highest `source_version` that this record knows to be served."""
        return self.version_offset + self.version


@dataclass(frozen=True)
class ServedProgress:
    """Reads and moves the record of one presentation table."""

    client: DynamoDBClient
    control_table: str
    name: str

    def read(self) -> Served | None:
        """Return the record, or None before the first run."""
        item = self.client.get_item(TableName=self.control_table, Key=self._key, ConsistentRead=True).get("Item")
        if item is None:
            return None
        offset, table_id = item.get("version_offset", {"N": "0"}), item.get("table_id", {"S": ""})
        return Served(int(item["version"]["N"]), int(offset["N"]), str(table_id["S"]))

    def move(self, served: Served, *, run_id: str) -> bool:
        """Record `served`; never moves back, by offset first and version second.

        Returns:
            False when the record already stood there or beyond.
        """
        # A record from before there were offsets has offset 0.
        behind = "version_offset < :o OR (version_offset = :o AND version < :v)"
        without = "attribute_not_exists(version_offset) AND (version < :v OR :o > :zero)"
        try:
            self.client.update_item(
                TableName=self.control_table,
                Key=self._key,
                UpdateExpression="SET version = :v, version_offset = :o, table_id = :t, run_id = :r",
                ConditionExpression=f"attribute_not_exists(version) OR {behind} OR ({without})",
                ExpressionAttributeValues={
                    ":v": {"N": str(served.version)},
                    ":o": {"N": str(served.version_offset)},
                    ":t": {"S": served.table_id},
                    ":r": {"S": run_id},
                    ":zero": {"N": "0"},
                },
            )
        except self.client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    @property
    def _key(self) -> dict[str, Any]:
        return {"pk": {"S": "progress"}, "sk": {"S": served_name(self.name)}}
