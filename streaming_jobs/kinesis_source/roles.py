"""Reading a stream of another account: credentials of an assumed role, renewed before they run out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import boto3
from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials
from botocore.session import get_session

if TYPE_CHECKING:
    from streaming_jobs.kinesis_source.options import SourceOptions


def assumed_session(options: SourceOptions, role_arn: str) -> boto3.Session:
    """Return a session whose credentials are those of a role; nothing is asked of STS before they are needed."""
    base = get_session()
    fetcher = AssumeRoleCredentialFetcher(
        client_creator=lambda service, **others: base.create_client(
            service, region_name=options.region, endpoint_url=options.sts_endpoint_url, **others
        ),
        source_credentials=base.get_credentials(),
        role_arn=role_arn,
        extra_args={"RoleSessionName": options.role_session_name},
    )
    session = get_session()
    # botocore has no public way to hand refreshable credentials to a session.
    assumed = DeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")
    session._credentials = assumed  # type: ignore[attr-defined]
    return boto3.Session(botocore_session=session, region_name=options.region)
