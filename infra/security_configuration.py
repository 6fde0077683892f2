"""How Glue encrypts what it writes in the name of a job beside the job's own data: logs, bookmarks, temporary files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aws_cdk import aws_glue as glue
from constructs import Construct

if TYPE_CHECKING:
    from aws_cdk import aws_kms as kms


class SecurityConfiguration(Construct):
    """One security configuration for all jobs, with the lake's key."""

    def __init__(self, scope: Construct, construct_id: str, *, prefix: str, key: kms.IKey) -> None:
        super().__init__(scope, construct_id)
        self._configuration = glue.CfnSecurityConfiguration(
            self,
            "Configuration",
            name=f"{prefix}-listenlake",
            encryption_configuration=glue.CfnSecurityConfiguration.EncryptionConfigurationProperty(
                cloud_watch_encryption=glue.CfnSecurityConfiguration.CloudWatchEncryptionProperty(
                    cloud_watch_encryption_mode="SSE-KMS", kms_key_arn=key.key_arn
                ),
                # No job uses bookmarks; whoever switches them on finds them encrypted.
                job_bookmarks_encryption=glue.CfnSecurityConfiguration.JobBookmarksEncryptionProperty(
                    job_bookmarks_encryption_mode="CSE-KMS", kms_key_arn=key.key_arn
                ),
                s3_encryptions=[
                    glue.CfnSecurityConfiguration.S3EncryptionProperty(
                        s3_encryption_mode="SSE-KMS", kms_key_arn=key.key_arn
                    )
                ],
            ),
        )

    @property
    def name(self) -> str:
        """The name by which a job refers to it."""
        return self._configuration.ref
