"""Policy statements, written out: no wildcard actions and no managed policies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from aws_cdk import Aws
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kinesis as kinesis
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_s3_assets as s3_assets

READ_OBJECTS: Final = ("s3:GetObject",)
WRITE_OBJECTS: Final = ("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload")
COUNT_ITEMS: Final = ("dynamodb:GetItem", "dynamodb:UpdateItem")
SERVE_ITEMS: Final = ("dynamodb:PutItem", "dynamodb:Scan")
"""Serving puts whole items under a condition; a rebuild looks for what is served beyond the rows of its table."""
READ_ENCRYPTED: Final = ("kms:Decrypt",)
WRITE_ENCRYPTED: Final = ("kms:Decrypt", "kms:GenerateDataKey")
"""An upload in parts reads its own parts back, so whoever writes decrypts too."""
LEASE_ITEMS: Final = (*COUNT_ITEMS, "dynamodb:PutItem", "dynamodb:DeleteItem")
"""Leases are given back; progress and reports of runs are put and moved."""


def on_prefixes(bucket: s3.IBucket, prefixes: Sequence[str], actions: Sequence[str]) -> list[iam.PolicyStatement]:
    """Allow `actions` on the objects under `prefixes` (each ends in a slash), and to list them.

    S3A probes a folder by an object of its bare name, so that name is allowed beside what lies under it.
    """
    bare = [prefix.rstrip("/") for prefix in prefixes]
    paths = [path for name in bare for path in (name, f"{name}/*")]
    return [
        iam.PolicyStatement(actions=list(actions), resources=[f"{_arn(bucket)}/{path}" for path in paths]),
        iam.PolicyStatement(
            actions=["s3:ListBucket"],
            resources=[_arn(bucket)],
            conditions={"StringLike": {"s3:prefix": paths}},
        ),
    ]


def _arn(bucket: s3.IBucket) -> str:
    # By its name, which is fixed, and not by a reference to another stack: whoever reads the policy sees which bucket.
    resource = bucket.node.default_child
    assert isinstance(resource, s3.CfnBucket)  # noqa: S101 - what `default_child` of a bucket is
    return f"arn:{Aws.PARTITION}:s3:::{resource.bucket_name}"


def on_table(table: dynamodb.ITableV2, actions: Sequence[str]) -> iam.PolicyStatement:
    """Allow `actions` on the items of one table."""
    return iam.PolicyStatement(actions=list(actions), resources=[table.table_arn])


def read_stream(stream: kinesis.IStream) -> iam.PolicyStatement:
    """Allow to read every shard of the stream."""
    return iam.PolicyStatement(
        actions=[
            "kinesis:DescribeStreamSummary",
            "kinesis:GetRecords",
            "kinesis:GetShardIterator",
            "kinesis:ListShards",
        ],
        resources=[stream.stream_arn],
    )


def use_key(key: kms.IKey, actions: Sequence[str], *, service: str) -> iam.PolicyStatement:
    """Allow `actions` with the lake's key, when `service` asks for them in the role's name and in no other case."""
    return iam.PolicyStatement(
        actions=list(actions),
        resources=[key.key_arn],
        conditions={"StringEquals": {"kms:ViaService": f"{service}.{Aws.REGION}.amazonaws.com"}},
    )


def read_assets(assets: Sequence[s3_assets.Asset]) -> iam.PolicyStatement:
    """Allow to fetch exactly these assets."""
    return iam.PolicyStatement(
        actions=list(READ_OBJECTS),
        resources=[asset.bucket.arn_for_objects(asset.s3_object_key) for asset in assets],
    )


def write_glue_logs(log_arn: str) -> list[iam.PolicyStatement]:
    """Allow the logs and metrics that Glue writes in the name of a job."""
    return [
        iam.PolicyStatement(
            # A security configuration has Glue put the key to the log group that it makes.
            actions=["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents", "logs:AssociateKmsKey"],
            resources=[log_arn],
        ),
        iam.PolicyStatement(
            actions=["cloudwatch:PutMetricData"],
            resources=["*"],  # the action has no resource type; the condition narrows it
            conditions={"StringEquals": {"cloudwatch:namespace": "Glue"}},
        ),
    ]
