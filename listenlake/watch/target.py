"""What a watch needs of a cloud, found the same way for the laptop and for AWS."""

from __future__ import annotations

from pathlib import Path

from listenlake.connection import Connection
from listenlake.watch.daemon import Target
from local_cloud import lifecycle
from local_cloud.cloud import Cloud
from local_cloud.environment import base_environment, host_environment
from local_cloud.java import find_java
from local_cloud.state import PROJECT


def find_target(connection: Connection, state: Path) -> Target:
    """Return the stream of a connection, as `listenlake.connection.connect(state)` made it.

    Raises:
        ToolMissingError: There is no Java.
    """
    cloud = lifecycle.load(state) if connection.is_local else None
    if cloud is not None:
        return local_target(cloud)
    host = host_environment()
    java = find_java(host, PROJECT / ".tools")
    return Target(
        stream=connection.places.stream,
        kinesis=connection.client("kinesis"),
        dynamodb=connection.client("dynamodb"),
        environment=dict(host),
        java=java.home / "bin" / "java",
        java_options=tuple(java.trust_options()),
    )


def local_target(cloud: Cloud, stream: str | None = None) -> Target:
    """Return a stream of a local cloud; its own by default."""
    return Target(
        stream=stream or cloud.places.stream,
        kinesis=cloud.client("kinesis"),
        dynamodb=cloud.client("dynamodb"),
        environment=base_environment(host_environment()) | cloud.environment,
        java=Path(cloud.environment["JAVA_HOME"]) / "bin" / "java",
        # The emulator writes arrival times in seconds into CBOR, where the client reads milliseconds.
        java_options=("-Daws.cborEnabled=false",),
    )
