"""Which cloud a command talks to: the local one that runs under the state folder, else the one of the environment."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import boto3
from botocore.config import Config

from lakehouse.errors import ListenlakeError
from lakehouse.settings import Places
from local_cloud import lifecycle
from local_cloud.clients import make_client

CALL_TIMEOUT_S: Final = 3.0
"""After so long without an answer a PutRecords call is given up, and its records are sent again."""


class NotConnectedError(ListenlakeError):
    """No cloud is running and none is named."""


@dataclass(frozen=True)
class Connection:
    """Clients and names of one cloud.

    Attributes:
        client: Makes a boto3 client by the service's name.
        places: Names of its resources.
        is_local: Whether it is the local cloud.
    """

    client: Callable[..., Any]
    places: Places
    is_local: bool


def connect(state: Path) -> Connection:
    """Return the local cloud under `state`; without one, the cloud that `LISTENLAKE_*` and `AWS_*` name.

    Raises:
        NotConnectedError: There is neither.
    """
    cloud = lifecycle.load(state)
    if cloud is not None:
        return Connection(cloud.client, cloud.places, is_local=True)
    if "LISTENLAKE_RAW_BUCKET" in os.environ:
        return Connection(boto3.client, Places.parse([], os.environ), is_local=False)
    raise NotConnectedError(
        expected=f"a local cloud under {state}, or LISTENLAKE_RAW_BUCKET and its sisters for one on AWS",
        found="neither",
        do="Run `listenlake up`, or set the variables.",
    )


def producer_connect(connection: Connection, *, endpoint: str | None = None, concurrency: int = 1) -> Callable[[], Any]:
    """Return what makes Kinesis clients for a producer, in this process or another.

    They retry nothing by themselves: a silent second PutRecords would double rejects and hide what the stream did.

    Args:
        connection: The cloud.
        endpoint: Where to reach Kinesis instead, for a proxy.
        concurrency: Calls at once.
    """
    config = Config(
        retries={"total_max_attempts": 1},
        connect_timeout=CALL_TIMEOUT_S,
        read_timeout=CALL_TIMEOUT_S,
        max_pool_connections=max(concurrency, 10),
        # Every batch is within the limits by construction; checking each entry again costs as much as sending it.
        parameter_validation=False,
    )
    client = connection.client("kinesis")
    if connection.is_local:
        return partial(make_client, "kinesis", endpoint or client.meta.endpoint_url, config=config)
    return partial(boto3.client, "kinesis", endpoint_url=endpoint, config=config)
