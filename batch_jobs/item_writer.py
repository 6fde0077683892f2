"""Write items to one DynamoDB table: absolute values, guarded by version, every one accounted for.

An item is written only over an older one (`source_version`), so a retry is a no-op and an older run that finishes late
is refused. What vanished becomes a tombstone with its version; a bare delete would let the older run bring it back.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import ClientError

from lakehouse.errors import BalanceError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from batch_jobs.items import Item

WRITERS: Final = 8
AT_ONCE: Final = 1_000
"""Items held in memory, and written between two checks of the lease."""
TOMBSTONE_RETENTION: Final = timedelta(days=30)
BACK_OFF_SECONDS: Final = 0.1
LONGEST_BACK_OFF_SECONDS: Final = 20.0
THROTTLED_TRIES: Final = 12
"""Beyond the SDK's own retries, whose quota a table that refuses everything uses up at once."""
OUTCOMES: Final = ("written", "tombstoned", "unchanged", "refused")
_THROTTLING: Final = frozenset(
    {"ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded"}
)
_NEWER: Final = "attribute_not_exists(source_version) OR source_version < :v"

T = TypeVar("T")


@dataclass(frozen=True)
class ItemWriter:
    """Writes to one table.

    Attributes:
        client: DynamoDB.
        table: The table's name.
        key: Its key attributes.
        empty: Values that a tombstone shows in place of those that are gone.
        now: The clock.
        check: Called before each chunk; raises when this run may not write any more.
        sleep: How to wait.
        chance: Where jitter comes from: a number in [0, 1).
    """

    client: DynamoDBClient
    table: str
    key: tuple[str, ...]
    empty: Item
    now: Callable[[], datetime]
    check: Callable[[], None] = lambda: None
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random
    _serializer: TypeSerializer = field(default_factory=TypeSerializer)

    def apply(self, items: Iterable[Item]) -> dict[str, int]:
        """Write items under the version guard, a bounded number of them at once.

        Args:
            items: Plain values with `source_version` and `deleted`; each key once. Consumed as it is written.

        Returns:
            How many were `written`, `tombstoned`, `unchanged` (already served) and `refused` (a newer one is served).

        Raises:
            BalanceError: Not every item has an outcome.
        """
        given = 0
        outcomes: Counter[str] = Counter()
        with ThreadPoolExecutor(WRITERS) as pool:
            for chunk in _chunks(items, AT_ONCE):
                self.check()
                given += len(chunk)
                outcomes.update(pool.map(self._put, chunk))
        if sum(outcomes[name] for name in OUTCOMES) != given:
            raise BalanceError(
                expected=f"{given} items of {self.table} accounted for",
                found=str(dict(outcomes)),
                do="This is a defect of the writer; the progress was not moved, so the next run writes them again.",
            )
        return {name: outcomes[name] for name in OUTCOMES if outcomes[name]}

    def newest_version(self) -> int | None:
        """Return the highest `source_version` that is served, tombstones included; None when nothing is."""
        names = {"ProjectionExpression": "source_version"}
        return max(
            (int(item["source_version"]) for item in self._scan(**names) if "source_version" in item), default=None
        )

    def older_than(self, version: int) -> Iterator[Item]:
        """Yield, as deletions at `version`, the keys of everything that is served with an older one or none."""
        names = {f"#{number}": name for number, name in enumerate(self.key)}
        older = self._scan(
            ProjectionExpression=", ".join(names),
            ExpressionAttributeNames=names,
            FilterExpression=_NEWER,
            ExpressionAttributeValues={":v": {"N": str(version)}},
        )
        for key in older:
            yield {**key, "source_version": version, "deleted": True}

    def _scan(self, **request: Any) -> Iterator[Item]:
        plain = TypeDeserializer().deserialize
        pages = self.client.get_paginator("scan").paginate(TableName=self.table, ConsistentRead=True, **request)
        for page in pages:
            for item in page["Items"]:
                yield {name: plain(value) for name, value in item.items()}

    def _put(self, item: Item) -> str:
        gone = item["deleted"]
        values = {name: value for name, value in item.items() if name != "deleted"}
        if gone:
            expires = int((self.now() + TOMBSTONE_RETENTION).timestamp())
            values = {**values, **self.empty, "deleted": True, "expires_at": expires}
        stored = {name: self._serializer.serialize(value) for name, value in values.items()}
        for tries_left in reversed(range(THROTTLED_TRIES)):
            try:
                self.client.put_item(
                    TableName=self.table,
                    Item=stored,
                    ConditionExpression=_NEWER,
                    ExpressionAttributeValues={":v": stored["source_version"]},
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
                break
            except self.client.exceptions.ConditionalCheckFailedException as error:
                served = cast("Item", error.response)["Item"]
                if served["source_version"] != stored["source_version"]:
                    return "refused"
                # The SDK repeats a put whose answer was lost: what it then meets is our own.
                ours = error.response["ResponseMetadata"].get("RetryAttempts") and served == stored
                if not ours:
                    return "unchanged"
                break
            except ClientError as error:
                if error.response["Error"]["Code"] not in _THROTTLING or not tries_left:
                    raise
                tried = THROTTLED_TRIES - 1 - tries_left
                self.sleep(self.chance() * min(LONGEST_BACK_OFF_SECONDS, BACK_OFF_SECONDS * 2**tried))
        return "tombstoned" if gone else "written"


def _chunks(values: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(values)
    while chunk := list(islice(iterator, size)):
        yield chunk
