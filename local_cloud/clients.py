"""AWS clients that talk to a local cloud, whatever the user's own AWS settings are."""

from __future__ import annotations

from typing import Any

import boto3
import botocore.session
from botocore.config import Config

from local_cloud.environment import ACCESS_KEY
from local_cloud.options import REGION


def make_client(service: Any, endpoint: str, *, config: Config | None = None, access_key: str = ACCESS_KEY) -> Any:
    """Return a client of `service` at `endpoint`; `config` overrides the defaults, the access key says who calls.

    Any in and out, because the typed stubs know each service by its literal name only.
    """
    # No profile and no file of the user's: each setting is fixed here, not looked up.
    fixed = dict.fromkeys(("profile", "config_file", "credentials_file", "ca_bundle"), (None, None, None, None))
    session = boto3.session.Session(
        aws_access_key_id=access_key,
        aws_secret_access_key=ACCESS_KEY,
        region_name=REGION,
        botocore_session=botocore.session.Session(session_vars=fixed),
    )
    defaults = Config(retries={"mode": "standard", "max_attempts": 3}, proxies={}, s3={"addressing_style": "path"})
    return session.client(service, endpoint_url=endpoint, config=defaults.merge(config) if config else defaults)
