"""Which cloud a command talks to: the local one that runs under the state folder, else the one of the environment."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from lakehouse.errors import ListenlakeError
from lakehouse.settings import Places
from local_cloud import lifecycle


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


def producer_client(connection: Connection) -> Any:
    """Return a Kinesis client that retries nothing by itself: a silent second PutRecords would double rejects."""
    return connection.client("kinesis", config=Config(retries={"total_max_attempts": 1}))
