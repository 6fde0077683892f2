"""Whole pipelines as real processes: each module has a local cloud of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from listenlake.connection import Connection, connect
from local_cloud import lifecycle
from local_cloud.cloud import Cloud
from local_cloud.options import CloudOptions


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A fresh local cloud with the stack in place."""
    state: Path = tmp_path_factory.mktemp("cloud")
    with lifecycle.up(state, options=CloudOptions(stop_grace_seconds=20.0)) as running:
        yield running


@pytest.fixture(scope="module")
def connection(cloud: Cloud) -> Connection:
    """The way into it."""
    return connect(cloud.state)
