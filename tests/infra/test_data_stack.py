"""Buckets, stream and tables as AWS gets them, also what the emulator does not apply."""

from collections.abc import Callable
from typing import Any

import pytest

Find = Callable[[str], dict[str, dict[str, Any]]]


def named(resources: dict[str, dict[str, Any]], attribute: str) -> dict[str, dict[str, Any]]:
    return {properties[attribute]: properties for properties in resources.values()}


def key_of(find: Find) -> str:
    (name,) = find("AWS::KMS::Key")
    return name


def test_buckets_are_private_and_carry_the_prefix(find: Find) -> None:
    buckets = named(find("AWS::S3::Bucket"), "BucketName")
    assert buckets.keys() == {
        "acme-lab3-raw",
        "acme-lab3-curated",
        "acme-lab3-presentation-data",
        "acme-lab3-access-logs",
    }
    for bucket in buckets.values():
        assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
        assert bucket["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    abandoned = lifecycle(find, "AbortIncompleteMultipartUpload")
    assert abandoned == {(name, ""): {"DaysAfterInitiation": 2} for name in buckets}


def test_every_bucket_is_encrypted_and_listens_by_the_lakes_own_key(find: Find) -> None:
    for name, bucket in named(find("AWS::S3::Bucket"), "BucketName").items():
        (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        if name == "acme-lab3-access-logs":  # S3 delivers access logs to buckets with its own key only
            assert rule["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
            continue
        assert rule["BucketKeyEnabled"] is True
        assert rule["ServerSideEncryptionByDefault"] == {
            "SSEAlgorithm": "aws:kms",
            "KMSMasterKeyID": {"Fn::GetAtt": [key_of(find), "Arn"]},
        }


def test_the_key_is_rotated_and_serves_logs_and_the_topic_beside_the_roles(find: Find) -> None:
    (key,) = find("AWS::KMS::Key").values()
    assert (key["EnableKeyRotation"], key["PendingWindowInDays"]) == (True, 30)
    logs, *topic = (s for s in key["KeyPolicy"]["Statement"] if "Service" in s["Principal"])
    assert [s["Principal"]["Service"] for s in topic] == ["cloudwatch.amazonaws.com", "events.amazonaws.com"]
    assert all(s["Action"] == ["kms:Decrypt", "kms:GenerateDataKey*"] for s in topic)
    assert logs["Principal"]["Service"]["Fn::Join"][1][0] == "logs."
    (pattern,) = logs["Condition"]["ArnLike"].values()
    assert {"Ref": "AWS::AccountId"} in pattern["Fn::Join"][1]


def test_every_access_to_a_bucket_of_the_lake_is_noted(find: Find) -> None:
    buckets = find("AWS::S3::Bucket")
    (target,) = (name for name, bucket in buckets.items() if bucket["BucketName"] == "acme-lab3-access-logs")
    for name, bucket in buckets.items():
        expected = {
            "DestinationBucketName": {"Ref": target},
            "LogFilePrefix": f"{bucket['BucketName']}/",
        }
        assert bucket.get("LoggingConfiguration") == (None if name == target else expected)


def lifecycle(find: Find, action: str) -> dict[tuple[str, str], Any]:
    return {
        (bucket["BucketName"], rule.get("Prefix", "")): rule[action]
        for bucket in find("AWS::S3::Bucket").values()
        for rule in bucket["LifecycleConfiguration"]["Rules"]
        if action in rule
    }


def test_bad_records_and_access_logs_expire_and_nothing_else_does(find: Find) -> None:
    assert lifecycle(find, "ExpirationInDays") == {
        ("acme-lab3-raw", "bad-records/"): 90,
        ("acme-lab3-access-logs", ""): 365,
    }


def test_archives_grow_cold_but_are_read_without_a_restore(find: Find) -> None:
    colder = [
        {"StorageClass": "STANDARD_IA", "TransitionInDays": 30},
        {"StorageClass": "GLACIER_IR", "TransitionInDays": 90},
    ]
    assert lifecycle(find, "Transitions") == {
        ("acme-lab3-raw", "archives/"): colder,
        ("acme-lab3-curated", "transformed-data/archive/"): colder,
    }


def test_what_is_overwritten_in_production_is_kept_for_a_month(find: Find) -> None:
    for bucket in find("AWS::S3::Bucket").values():
        assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    days = lifecycle(find, "NoncurrentVersionExpiration")
    assert len(days) == 4
    assert all(value == {"NoncurrentDays": 30} for value in days.values())


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
    assert (stream["Name"], stream["ShardCount"], stream["RetentionPeriodHours"]) == ("listens", 3, 168)
    assert stream["StreamModeDetails"] == {"StreamMode": "PROVISIONED"}
    assert stream["StreamEncryption"] == {"EncryptionType": "KMS", "KeyId": {"Fn::GetAtt": [key_of(find), "Arn"]}}


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


def test_tables_are_on_demand_encrypted_recoverable_and_let_items_expire(find: Find) -> None:
    tables = find("AWS::DynamoDB::GlobalTable")
    assert len(tables) == 3
    for table in tables.values():
        assert table["BillingMode"] == "PAY_PER_REQUEST"
        assert table["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}
        assert table["SSESpecification"] == {"SSEEnabled": True, "SSEType": "KMS"}
        (replica,) = table["Replicas"]
        assert replica["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
        assert replica["DeletionProtectionEnabled"] is True


KINDS_WITH_DATA = {"AWS::S3::Bucket", "AWS::Kinesis::Stream", "AWS::DynamoDB::GlobalTable", "AWS::KMS::Key"}


def policies(resources: dict[str, dict[str, Any]]) -> list[tuple[str, str]]:
    return [
        (value["DeletionPolicy"], value["UpdateReplacePolicy"])
        for value in resources.values()
        if value["Type"] in KINDS_WITH_DATA
    ]


def test_production_keeps_its_data_and_a_trial_leaves_nothing(
    resources: dict[str, dict[str, Any]], trial_data: dict[str, dict[str, Any]]
) -> None:
    assert policies(resources) == [("Retain", "Retain")] * 9
    assert policies(trial_data) == [("Delete", "Delete")] * 9


def test_a_trial_is_encrypted_as_production_is_but_may_be_deleted(trial_data: dict[str, dict[str, Any]]) -> None:
    kinds = [value["Type"] for value in trial_data.values()]
    for value in trial_data.values():
        properties = value.get("Properties", {})
        if value["Type"] == "AWS::DynamoDB::GlobalTable":
            (replica,) = properties["Replicas"]
            assert replica["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": False}
            assert replica["DeletionProtectionEnabled"] is False
            assert properties["SSESpecification"]["SSEEnabled"] is True
        if value["Type"] == "AWS::S3::Bucket":
            assert "VersioningConfiguration" not in properties
            assert "BucketEncryption" in properties
        if value["Type"] == "AWS::Kinesis::Stream":
            assert (properties["ShardCount"], properties["RetentionPeriodHours"]) == (2, 48)
            assert properties["StreamEncryption"]["EncryptionType"] == "KMS"
    assert kinds.count("AWS::S3::BucketPolicy") == kinds.count("AWS::S3::Bucket") == 4


def test_every_resource_that_can_carries_the_tags(resources: dict[str, dict[str, Any]]) -> None:
    expected = {"project": "listenlake", "environment": "prod", "team": "listening"}
    carriers = {"AWS::S3::Bucket", "AWS::Kinesis::Stream", "AWS::KMS::Key", "AWS::Glue::Job", "AWS::Lambda::Function"}
    seen = set()
    for value in resources.values():
        if value["Type"] in carriers:
            seen.add(value["Type"])
            tags = value["Properties"]["Tags"]
            found = tags if isinstance(tags, dict) else {tag["Key"]: tag["Value"] for tag in tags}
            assert found == expected
    assert seen == carriers


def test_athena_finds_every_table_that_others_may_read(find: Find) -> None:
    (database,) = find("AWS::Glue::Database").values()
    declared = {table["TableInput"]["Name"]: table for table in find("AWS::Glue::Table").values()}
    assert {table["DatabaseName"] for table in declared.values()} == {database["DatabaseInput"]["Name"]}
    places = {name: table["TableInput"]["StorageDescriptor"]["Location"] for name, table in declared.items()}
    assert places == {
        "transformed_data_latest": "s3://acme-lab3-curated/transformed-data/latest/",
        "transformed_data_archive": "s3://acme-lab3-curated/transformed-data/archive/",
        "daily_listens": "s3://acme-lab3-presentation-data/daily_listens/",
        "top_genres": "s3://acme-lab3-presentation-data/top_genres/",
    }
    for table in declared.values():
        assert table["TableInput"]["Parameters"]["table_type"] == "DELTA"
    columns = declared["daily_listens"]["TableInput"]["StorageDescriptor"]["Columns"]
    assert {column["Name"]: column["Type"] for column in columns} == {
        "listen_date": "date",
        "track_genre": "string",
        "listen_count": "bigint",
        "unique_listeners": "bigint",
        "total_listening_time_ms": "bigint",
        "avg_listening_time_per_user_ms": "decimal(20,2)",
        "top_songs": "array<struct<rank:int,track_id:string,track_name:string,artists:string,plays:bigint>>",
        "curated_version": "bigint",
        "run_id": "string",
        "computed_at": "timestamp",
    }
