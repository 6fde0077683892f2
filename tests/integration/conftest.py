"""One real local cloud for all integration tests, one Spark session on it, and a laboratory for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from local_cloud import lifecycle
from local_cloud.cloud import Cloud
from local_cloud.options import CloudOptions
from tests.integration.laboratory import Lab, make_lab
from tests.integration.spark_fixtures import forget_tables, spark_session


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let tests with Spark pass over a warning that is PySpark's own: `collect` leaves its socket to be collected."""
    leaves_sockets = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
    for item in items:
        if "spark" in getattr(item, "fixturenames", ()):
            item.add_marker(leaves_sockets)


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A running cloud with the stack in place; it ends with the session, however the session ends."""
    state: Path = tmp_path_factory.mktemp("cloud")
    with lifecycle.up(state, options=CloudOptions(stop_grace_seconds=5.0)) as running:
        yield running


@pytest.fixture(scope="session")
def spark(cloud: Cloud) -> Iterator[SparkSession]:
    """The one Spark session of this process, configured as the cloud configures its jobs."""
    with spark_session(cloud.environment) as session:
        yield session


@pytest.fixture
def lab(cloud: Cloud, spark: SparkSession) -> Iterator[Lab]:
    """Buckets and tables that no other test uses; Spark forgets them afterwards."""
    yield make_lab(cloud, spark)
    forget_tables(spark)
