"""One real local cloud for all integration tests: emulator, Glue endpoint and the deployed stack."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from local_cloud import lifecycle
from local_cloud.cloud import Cloud
from local_cloud.options import CloudOptions


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A running cloud with the stack in place; it ends with the session, however the session ends."""
    state: Path = tmp_path_factory.mktemp("cloud")
    with lifecycle.up(state, options=CloudOptions(stop_grace_seconds=5.0)) as running:
        yield running
