"""A bucket of the lake: private, encrypted, over TLS only."""

from __future__ import annotations

from collections.abc import Mapping

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_s3 as s3
from constructs import Construct


class LakeBucket(Construct):
    """One bucket with the protections that all of them share."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        bucket_name: str,
        removal: RemovalPolicy,
        announces_objects: bool = False,
        expires: Mapping[str, Duration] | None = None,
    ) -> None:
        """Declare the bucket.

        Args:
            scope: Where the construct lives.
            construct_id: Its name there.
            bucket_name: The real, global name.
            removal: What happens to the bucket when the stack goes.
            announces_objects: Whether EventBridge hears of every object.
            expires: Age at which objects under a prefix are removed.
        """
        super().__init__(scope, construct_id)
        rules = [s3.LifecycleRule(abort_incomplete_multipart_upload_after=Duration.days(2))]
        rules += [s3.LifecycleRule(prefix=prefix, expiration=age) for prefix, age in (expires or {}).items()]
        self.bucket = s3.Bucket(
            self,
            "Bucket",
            bucket_name=bucket_name,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            encryption=s3.BucketEncryption.S3_MANAGED,
            enforce_ssl=True,
            minimum_tls_version=1.2,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            lifecycle_rules=rules,
            removal_policy=removal,
        )
        if announces_objects:
            # `event_bridge_enabled=True` would add a Lambda of the CDK's own to set this one property.
            resource = self.bucket.node.default_child
            assert isinstance(resource, s3.CfnBucket)  # noqa: S101 - what `default_child` of a bucket is
            resource.add_property_override(
                "NotificationConfiguration.EventBridgeConfiguration.EventBridgeEnabled", True
            )
