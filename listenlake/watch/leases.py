"""The tables that a Kinesis Client application keeps in DynamoDB: leases made before, everything deleted after.

A worker that finds its lease table empty waits for up to 30 s, at random, in case another worker fills it. So the
session fills it, as the client itself would; who holds a lease and what is checkpointed stays the client's business.
"""

from __future__ import annotations

import time
from typing import Any, Final

SUFFIXES: Final = ("", "-WorkerMetricStats", "-CoordinatorState")
BUSY_SECONDS: Final = 60.0
OWNER_INDEX: Final = "LeaseOwnerToLeaseKeyIndex"


def list_shards(kinesis: Any, stream: str) -> list[dict[str, Any]]:
    """Return all shards that the stream still lists."""
    pages = kinesis.get_paginator("list_shards").paginate(StreamName=stream)
    return [shard for page in pages for shard in page["Shards"]]


def is_open(shard: dict[str, Any]) -> bool:
    """Tell whether records can still be put to a shard."""
    return "EndingSequenceNumber" not in shard["SequenceNumberRange"]


def create_leases(dynamodb: Any, application: str, shards: list[dict[str, Any]], position: str) -> bool:
    """Create the lease table with a lease for each shard, unless shards have parents: their order is the client's art.

    Args:
        dynamodb: A boto3 client.
        application: The application, whose name the table has.
        shards: What `list_shards` returned.
        position: Where each shard is read from.

    Returns:
        Whether it was done.
    """
    if any("ParentShardId" in shard or not is_open(shard) for shard in shards):
        return False
    dynamodb.create_table(
        TableName=application,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("leaseKey", "leaseOwner")],
        KeySchema=[{"AttributeName": "leaseKey", "KeyType": "HASH"}],
        GlobalSecondaryIndexes=[
            {
                "IndexName": OWNER_INDEX,
                "KeySchema": [
                    {"AttributeName": "leaseOwner", "KeyType": "HASH"},
                    {"AttributeName": "leaseKey", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
        ],
    )
    dynamodb.get_waiter("table_exists").wait(TableName=application, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    for shard in shards:
        dynamodb.put_item(TableName=application, Item=_lease(shard, position))
    return True


def delete_tables(dynamodb: Any, application: str) -> None:
    """Delete whatever the application has in DynamoDB."""
    for suffix in SUFFIXES:
        _delete_table(dynamodb, application + suffix)


def _delete_table(dynamodb: Any, name: str) -> None:
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            dynamodb.delete_table(TableName=name)
        except dynamodb.exceptions.ResourceNotFoundException:
            return
        except dynamodb.exceptions.ResourceInUseException:
            # It, or its index, is still being made.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            return


def _lease(shard: dict[str, Any], position: str) -> dict[str, dict[str, str]]:
    keys = shard["HashKeyRange"]
    return {
        "leaseKey": {"S": shard["ShardId"]},
        "leaseCounter": {"N": "0"},
        "ownerSwitchesSinceCheckpoint": {"N": "0"},
        "checkpoint": {"S": position},
        "checkpointSubSequenceNumber": {"N": "0"},
        "startingHashKey": {"S": keys["StartingHashKey"]},
        "endingHashKey": {"S": keys["EndingHashKey"]},
    }
