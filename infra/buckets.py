"""Buckets of the lake: private, encrypted with the lake's key, over TLS only, with access logs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_s3 as s3
from constructs import Construct

from infra.acknowledgements import acknowledge_checkov
from infra.environments import NONCURRENT_DAYS, Environment

if TYPE_CHECKING:
    from aws_cdk import aws_kms as kms

ABANDONED_UPLOAD_DAYS: Final = 2


class AccessLogBucket(Construct):
    """Where S3 notes who asked the lake's buckets for what."""

    def __init__(self, scope: Construct, construct_id: str, *, bucket_name: str, promises: Environment) -> None:
        super().__init__(scope, construct_id)
        # S3 delivers access logs to buckets with its own key only.
        self.bucket = _private_bucket(
            self,
            bucket_name=bucket_name,
            promises=promises,
            encryption=s3.BucketEncryption.S3_MANAGED,
            rules=[s3.LifecycleRule(expiration=Duration.days(promises.log_days))],
        )
        acknowledge_checkov(self.bucket, {"CKV_AWS_18": "Logging its own accesses, it would never come to rest."})


class LakeBucket(Construct):
    """One bucket with the protections that all of them share."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        bucket_name: str,
        promises: Environment,
        key: kms.IKey,
        access_logs: s3.IBucket,
        announces_objects: bool = False,
        rules: Sequence[s3.LifecycleRule] = (),
    ) -> None:
        """Declare the bucket.

        Args:
            scope: Where the construct lives.
            construct_id: Its name there.
            bucket_name: The real, global name.
            promises: What the placement promises about its data.
            key: Encrypts the objects.
            access_logs: Bucket of access logs.
            announces_objects: Whether EventBridge hears of every object.
            rules: When objects under a prefix go, or move to a colder class.
        """
        super().__init__(scope, construct_id)
        self.bucket = _private_bucket(
            self,
            bucket_name=bucket_name,
            promises=promises,
            encryption=s3.BucketEncryption.KMS,
            encryption_key=key,
            bucket_key_enabled=True,
            server_access_logs_bucket=access_logs,
            server_access_logs_prefix=f"{bucket_name}/",
            rules=rules,
        )
        if announces_objects:
            # `event_bridge_enabled=True` would add a Lambda of the CDK's own to set this one property.
            resource = self.bucket.node.default_child
            assert isinstance(resource, s3.CfnBucket)  # noqa: S101 - what `default_child` of a bucket is
            resource.add_property_override(
                "NotificationConfiguration.EventBridgeConfiguration.EventBridgeEnabled", True
            )


def cool_down(prefix: str) -> s3.LifecycleRule:
    """Move objects under `prefix` to colder classes, from all of which they are read at once, without a restore."""
    return s3.LifecycleRule(
        prefix=prefix,
        transitions=[
            s3.Transition(storage_class=s3.StorageClass.INFREQUENT_ACCESS, transition_after=Duration.days(30)),
            s3.Transition(storage_class=s3.StorageClass.GLACIER_INSTANT_RETRIEVAL, transition_after=Duration.days(90)),
        ],
    )


def expire(prefix: str, *, days: int) -> s3.LifecycleRule:
    """Remove objects under `prefix` at an age."""
    return s3.LifecycleRule(prefix=prefix, expiration=Duration.days(days))


def _private_bucket(
    scope: Construct, *, bucket_name: str, promises: Environment, rules: Sequence[s3.LifecycleRule], **options: Any
) -> s3.Bucket:
    general = s3.LifecycleRule(
        abort_incomplete_multipart_upload_after=Duration.days(ABANDONED_UPLOAD_DAYS),
        noncurrent_version_expiration=Duration.days(NONCURRENT_DAYS) if promises.versions_objects else None,
        expired_object_delete_marker=True if promises.versions_objects else None,
    )
    return s3.Bucket(
        scope,
        "Bucket",
        bucket_name=bucket_name,
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        enforce_ssl=True,
        minimum_tls_version=1.2,
        object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
        versioned=promises.versions_objects,
        lifecycle_rules=[general, *rules],
        removal_policy=RemovalPolicy.RETAIN if promises.keeps_data else RemovalPolicy.DESTROY,
        **options,
    )
