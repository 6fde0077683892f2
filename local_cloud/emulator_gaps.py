"""What the deployed stack declares and the emulator does not do: the one list, printed by `up`.

Each entry names what the template declares, and a test holds that it does (`tests/infra/test_emulator_gaps.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class EmulatorGap:
    """One thing that AWS does and the emulator does not.

    Attributes:
        what: What is missing.
        instead: What happens on the laptop.
        declared: Resource types and the properties, or attributes, by which the template asks for it.
    """

    what: str
    instead: str
    declared: tuple[tuple[str, str], ...]


GAPS: Final = (
    EmulatorGap(
        "bucket lifecycle rules are not kept",
        "objects stay until `down`",
        (("AWS::S3::Bucket", "LifecycleConfiguration"),),
    ),
    EmulatorGap(
        "access logs of the buckets are not written",
        "the emulator's own log has every request",
        (("AWS::S3::Bucket", "LoggingConfiguration"),),
    ),
    EmulatorGap(
        "DynamoDB expiry and point-in-time recovery are not switched on",
        "items stay until `down`",
        (
            ("AWS::DynamoDB::GlobalTable", "TimeToLiveSpecification"),
            ("AWS::DynamoDB::GlobalTable", "Replicas.PointInTimeRecoverySpecification"),
        ),
    ),
    EmulatorGap(
        "nothing is encrypted: neither buckets and stream by the lake's key nor what Glue writes",
        "data stays on this machine",
        (
            ("AWS::S3::Bucket", "BucketEncryption"),
            ("AWS::Kinesis::Stream", "StreamEncryption"),
            ("AWS::DynamoDB::GlobalTable", "SSESpecification"),
            ("AWS::Glue::Job", "SecurityConfiguration"),
        ),
    ),
    EmulatorGap(
        "a Glue job's maximum of concurrent runs and its maintenance window are dropped",
        "the local Glue endpoint refuses a second run itself",
        (("AWS::Glue::Job", "ExecutionProperty"), ("AWS::Glue::Job", "MaintenanceWindow")),
    ),
    EmulatorGap(
        "another number of shards in a later deployment is not applied",
        "the stream keeps those that it was made with",
        (("AWS::Kinesis::Stream", "ShardCount"),),
    ),
    EmulatorGap(
        "a bucket that still holds objects is deleted with its stack",
        "AWS refuses that, and its owner empties it first",
        (("AWS::S3::Bucket", "DeletionPolicy"),),
    ),
    EmulatorGap(
        "tags of buckets and tables are not kept",
        "nobody is billed",
        (("AWS::S3::Bucket", "Tags"), ("AWS::DynamoDB::GlobalTable", "Replicas.Tags")),
    ),
    EmulatorGap(
        "topic, alarms and dashboard are not deployed: alarms on computed figures are refused",
        "`listenlake status` and `watch` show them",
        (("AWS::CloudWatch::Alarm", "AlarmActions"), ("AWS::SNS::Topic", "KmsMasterKeyId")),
    ),
    EmulatorGap(
        "role policies are not evaluated",
        "a test evaluates them for each call of a demo",
        (("AWS::IAM::Policy", "PolicyDocument"),),
    ),
)


def describe_gaps() -> list[str]:
    """Return one line for each gap."""
    return [f"{gap.what}: {gap.instead}" for gap in GAPS]
