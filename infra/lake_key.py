"""The key that encrypts whatever holds single listens: the buckets, the stream and the logs of the jobs.

The topic of alarms has it too: SNS's own key can't be used by alarms, and an error's text may say much.
"""

from __future__ import annotations

from aws_cdk import Aws, Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct

from infra.environments import Environment


class LakeKey(Construct):
    """One key of our own, rotated every year. Who may use it is said by the roles and, for services, here."""

    def __init__(self, scope: Construct, construct_id: str, *, alias: str, promises: Environment) -> None:
        super().__init__(scope, construct_id)
        self.key = kms.Key(
            self,
            "Key",
            alias=alias,
            description="Encrypts Listenlake's buckets, stream and job logs",
            enable_key_rotation=True,
            pending_window=Duration.days(30 if promises.keeps_data else 7),
            removal_policy=RemovalPolicy.RETAIN if promises.keeps_data else RemovalPolicy.DESTROY,
        )
        logs = f"arn:{Aws.PARTITION}:logs:{Aws.REGION}:{Aws.ACCOUNT_ID}:log-group:*"
        self.key.add_to_resource_policy(
            iam.PolicyStatement(
                sid="CloudWatchLogsOfThisAccount",
                principals=[iam.ServicePrincipal(f"logs.{Aws.REGION}.amazonaws.com")],
                actions=["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:Describe*"],
                resources=["*"],  # in a key's policy: this key
                conditions={"ArnLike": {"kms:EncryptionContext:aws:logs:arn": logs}},
            )
        )
        # For an encrypted topic there is no caller's account to test here: the topic's own policy says whose alarms.
        self.key.add_to_resource_policy(
            iam.PolicyStatement(
                sid="AlarmsToTheirTopic",
                principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
                actions=["kms:Decrypt", "kms:GenerateDataKey*"],
                resources=["*"],
            )
        )
