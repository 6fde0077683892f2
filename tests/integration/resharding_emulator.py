"""A second, independent Kinesis emulator, for what the local cloud's gets wrong: resharding, trimming, expiry.

It listens on a loopback port, and its clock can be put forward.
"""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import boto3

from local_cloud.environment import base_environment, host_environment
from local_cloud.node import find_node, prepare_package

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

FOLDER: Final = Path(__file__).parent / "resharding"
START_SECONDS: Final = 60.0
AT_ONCE: Final = "5ms"


@dataclass(frozen=True)
class Emulator:
    """A running emulator."""

    url: str
    kinesis: KinesisClient
    clock_file: Path

    def put_clock_forward(self, seconds: float) -> None:
        """Let the emulator's clock be `seconds` ahead of the machine's."""
        draft = self.clock_file.with_suffix(".draft")
        draft.write_text(str(round(seconds * 1000)))
        draft.rename(self.clock_file)

    def wait_until_active(self, stream: str) -> None:
        """Wait for the end of a change of shards."""
        deadline = time.monotonic() + START_SECONDS
        while self.kinesis.describe_stream(StreamName=stream)["StreamDescription"]["StreamStatus"] != "ACTIVE":
            assert time.monotonic() < deadline, stream
            time.sleep(0.02)


@contextmanager
def running_emulator(folder: Path) -> Iterator[Emulator]:
    """An emulator that ends with the block.

    Args:
        folder: Where its clock and log lie.
    """
    node = find_node()
    program = prepare_package(FOLDER, "kinesis-local", node, host_environment())
    clock_file, log = folder / "clock", folder / "emulator.log"
    clock_file.write_text("0")
    plain, tls = _free_port(), _free_port()
    changes = ("CREATE_STREAM", "DELETE_STREAM", "MERGE_SHARDS", "SPLIT_SHARD")
    environment = {
        **base_environment(host_environment()),
        **{f"{change}_DURATION": AT_ONCE for change in changes},
        "KINESIS_MOCK_PLAIN_PORT": str(plain),
        "KINESIS_MOCK_TLS_PORT": str(tls),
        "KINESIS_MOCK_CERT_PATH": str(program / "server.json"),
        "CLOCK_FILE": str(clock_file),
        "LOG_LEVEL": "WARN",
    }
    url = f"http://127.0.0.1:{plain}"
    command = [str(node), "--require", str(FOLDER / "preload.js"), str(program / "main.js")]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
    kinesis = boto3.client(
        "kinesis",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    try:
        _wait_for(plain, process, log)
        yield Emulator(url, kinesis, clock_file)
    finally:
        kinesis.close()
        process.kill()  # It holds nothing that is worth a goodbye.
        process.wait(10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        else:
            return
