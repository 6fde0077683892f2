"""Copy what changed in a presentation table to DynamoDB: absolute items, guarded by version, every write accounted for.

An item is written only over an older one (`source_version`), so a retry is a no-op and an older run that finishes late
is refused. What vanished becomes a tombstone with its version; a bare delete would let the older run bring it back.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, cast

from boto3.dynamodb.types import TypeSerializer
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from lakehouse.tables import Table

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

logger = logging.getLogger(__name__)

WRITERS: Final = 8
TOMBSTONE_RETENTION: Final = timedelta(days=30)
_VERSION: Final = "_commit_version"
_CHANGE: Final = "_change_type"
_TIME_FORMAT: Final = "yyyy-MM-dd'T'HH:mm:ss.SSSSSS'Z'"

Item = dict[str, Any]


@dataclass(frozen=True)
class Serving:
    """One DynamoDB table and the values that an absent row of its Delta table stands for."""

    client: DynamoDBClient
    table: str
    empty: Item
    now: Callable[[], datetime]

    def apply(self, items: Iterable[Item]) -> dict[str, int]:
        """Write items under the version guard.

        Args:
            items: Output of `to_items`.

        Returns:
            How many were `written`, `tombstoned`, `unchanged` (already served) and `refused` (a newer one is served).
        """
        with ThreadPoolExecutor(WRITERS) as pool:
            return dict(Counter(pool.map(self._put, items)))

    def _put(self, item: Item) -> str:
        gone = item.pop("deleted", False)
        if gone:
            expires = int((self.now() + TOMBSTONE_RETENTION).timestamp())
            item = {**item, **self.empty, "deleted": True, "expires_at": expires}
        try:
            self.client.put_item(
                TableName=self.table,
                Item=_serialize(item),
                ConditionExpression="attribute_not_exists(source_version) OR source_version < :v",
                ExpressionAttributeValues={":v": {"N": str(item["source_version"])}},
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self.client.exceptions.ConditionalCheckFailedException as error:
            served = cast("Item", error.response)["Item"]["source_version"]["N"]
            return "unchanged" if int(served) == item["source_version"] else "refused"
        return "tombstoned" if gone else "written"


def latest_changes(changes: DataFrame, table: Table) -> DataFrame:
    """Reduce a change feed to the newest change of each key. One row per key that changed."""
    newest = Window.partitionBy(*table.key).orderBy(F.col(_VERSION).desc())
    outcomes = changes.where(F.col(_CHANGE) != "update_preimage")
    ranked = outcomes.withColumn("newest", F.row_number().over(newest)).where(F.col("newest") == 1)
    return ranked.drop("newest", "_commit_timestamp")


def to_items(changes: DataFrame, table: Table) -> list[Item]:
    """Render changes as items of plain values: str, int, Decimal, list, dict; a date and a time as ISO 8601 text.

    Args:
        changes: Output of `latest_changes`; collected here, bounded by the rows that one run changed.
        table: The contract of the presentation table.
    """
    as_text = changes.withColumns(
        {"listen_date": F.col("listen_date").cast("string"), "computed_at": F.date_format("computed_at", _TIME_FORMAT)}
    )
    items = []
    for row in as_text.collect():
        values = row.asDict(recursive=True)
        version, gone = values.pop(_VERSION), values.pop(_CHANGE) == "delete"
        kept = table.key if gone else table.columns
        item = {name: values[name] for name in kept if values[name] is not None}
        items.append({**item, "source_version": version, "deleted": gone})
    return items


def _serialize(item: Item) -> Item:
    serializer = TypeSerializer()
    return {name: serializer.serialize(value) for name, value in item.items()}
