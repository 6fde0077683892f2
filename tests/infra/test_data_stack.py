"""Buckets, stream and tables as AWS gets them, also what the emulator does not apply."""

from collections.abc import Callable
from typing import Any

import pytest

Find = Callable[[str], dict[str, dict[str, Any]]]


def named(resources: dict[str, dict[str, Any]], attribute: str) -> dict[str, dict[str, Any]]:
    return {properties[attribute]: properties for properties in resources.values()}


def test_buckets_are_private_encrypted_and_carry_the_prefix(find: Find) -> None:
    buckets = named(find("AWS::S3::Bucket"), "BucketName")
    assert buckets.keys() == {"acme-lab3-raw", "acme-lab3-curated", "acme-lab3-presentation-data"}
    for bucket in buckets.values():
        assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
        rule = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"][0]
        assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
        assert bucket["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
        lifecycle = bucket["LifecycleConfiguration"]["Rules"]
        assert {"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 2}, "Status": "Enabled"} in lifecycle


def test_bad_records_expire_and_nothing_else_does(find: Find) -> None:
    buckets = named(find("AWS::S3::Bucket"), "BucketName")
    expiring = [
        (name, rule["Prefix"], rule["ExpirationInDays"])
        for name, bucket in buckets.items()
        for rule in bucket["LifecycleConfiguration"]["Rules"]
        if "ExpirationInDays" in rule
    ]
    assert expiring == [("acme-lab3-raw", "bad-records/", 90)]


def test_every_bucket_refuses_plain_http(find: Find) -> None:
    policies = find("AWS::S3::BucketPolicy")
    assert len(policies) == len(find("AWS::S3::Bucket"))
    for policy in policies.values():
        denied = [s for s in policy["PolicyDocument"]["Statement"] if s["Effect"] == "Deny"]
        assert any(s["Condition"] == {"Bool": {"aws:SecureTransport": "false"}} for s in denied)


def test_only_the_raw_bucket_announces_objects_and_no_helper_lambda_is_added(find: Find) -> None:
    buckets = named(find("AWS::S3::Bucket"), "BucketName")
    announcing = [name for name, bucket in buckets.items() if "NotificationConfiguration" in bucket]
    assert announcing == ["acme-lab3-raw"]
    configuration = buckets["acme-lab3-raw"]["NotificationConfiguration"]
    assert configuration == {"EventBridgeConfiguration": {"EventBridgeEnabled": True}}
    assert len(find("AWS::Lambda::Function")) == 1


def test_the_stream_has_the_shards_of_the_configuration(find: Find) -> None:
    (stream,) = find("AWS::Kinesis::Stream").values()
    assert (stream["Name"], stream["ShardCount"], stream["RetentionPeriodHours"]) == ("listens", 3, 48)
    assert stream["StreamModeDetails"] == {"StreamMode": "PROVISIONED"}
    assert stream["StreamEncryption"] == {"EncryptionType": "KMS", "KeyId": "alias/aws/kinesis"}


@pytest.mark.parametrize(
    ("table", "keys", "indexes"),
    [
        ("listenlake_control", [("pk", "HASH"), ("sk", "RANGE")], {}),
        (
            "daily_listens_by_genre",
            [("track_genre", "HASH"), ("listen_date", "RANGE")],
            {"by_listen_date": [("listen_date", "HASH"), ("track_genre", "RANGE")]},
        ),
        ("top_genres_by_date", [("listen_date", "HASH")], {}),
    ],
)
def test_tables_have_the_keys_of_the_domain(
    find: Find, table: str, keys: list[tuple[str, str]], indexes: dict[str, Any]
) -> None:
    def pairs(schema: list[dict[str, str]]) -> list[tuple[str, str]]:
        return [(key["AttributeName"], key["KeyType"]) for key in schema]

    properties = named(find("AWS::DynamoDB::GlobalTable"), "TableName")[table]
    assert pairs(properties["KeySchema"]) == keys
    found = properties.get("GlobalSecondaryIndexes", [])
    assert {index["IndexName"]: pairs(index["KeySchema"]) for index in found} == indexes
    assert all(index["Projection"] == {"ProjectionType": "ALL"} for index in found)
    assert {attribute["AttributeType"] for attribute in properties["AttributeDefinitions"]} == {"S"}


def test_tables_are_on_demand_recoverable_and_let_items_expire(find: Find) -> None:
    tables = find("AWS::DynamoDB::GlobalTable")
    assert len(tables) == 3
    for table in tables.values():
        assert table["BillingMode"] == "PAY_PER_REQUEST"
        assert table["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}
        (replica,) = table["Replicas"]
        assert replica["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}


def test_data_is_retained_where_the_configuration_says_so(resources: dict[str, dict[str, Any]]) -> None:
    kinds = {"AWS::S3::Bucket", "AWS::Kinesis::Stream", "AWS::DynamoDB::GlobalTable"}
    kept = {name: value["DeletionPolicy"] for name, value in resources.items() if value["Type"] in kinds}
    assert len(kept) == 7
    assert set(kept.values()) == {"Retain"}
