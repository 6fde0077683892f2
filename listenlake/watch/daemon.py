"""The MultiLangDaemon of one worker: its configuration files and its command line.

The daemon's properties are the Kinesis Client's own names. Times are short, because a load test waits for the daemon;
they cost a few more calls to DynamoDB a minute.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from listenlake.watch.errors import KinesisClientMissingError
from listenlake.watch.folder import FOLDER_VARIABLE, WORKER_VARIABLE, WatchFolder, WatchRecord

MAIN_CLASS: Final = "software.amazon.kinesis.multilang.MultiLangDaemon"
PROCESSOR: Final = "listenlake.watch.processor"
GRACE_MILLIS: Final = 8_000
HEAP: Final = "512m"
TIMINGS: Final = {
    "shardSyncIntervalMillis": "1000",
    "leaseAssignmentIntervalMillis": "2000",
    "workerMetricsReporterFreqInMillis": "1000",
    "failoverTimeMillis": "5000",
    "idleTimeBetweenReadsInMillis": "200",
    # What a read may bring at once, in a heap this small: aggregates are up to a megabyte each, and an emulator
    # does not stop at 10 MB as Kinesis does.
    "maxRecords": "1000",
    "parentShardPollIntervalMillis": "1000",
    "schedulerInitializationBackoffTimeMillis": "500",
    "shutdownGraceMillis": str(GRACE_MILLIS),
}
LOGBACK: Final = """\
<configuration>
  <appender name="FILE" class="ch.qos.logback.core.FileAppender">
    <file>{log}</file>
    <encoder><pattern>%d{{ISO8601}} %-5level %logger{{20}} %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="FILE"/></root>
</configuration>
"""


@dataclass(frozen=True, kw_only=True)
class Target:
    """The stream, and what a daemon needs to reach it.

    Attributes:
        stream: Name of the stream.
        kinesis: A boto3 client; its endpoint and region are the daemon's.
        dynamodb: Likewise, for leases and checkpoints.
        environment: The daemon's whole environment, credentials included.
        java: The `java` executable, 17 or later.
        java_options: Further options for it.
    """

    stream: str
    kinesis: Any
    dynamodb: Any
    environment: Mapping[str, str]
    java: Path
    java_options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Daemon:
    """How to start the daemon of one worker.

    Attributes:
        command: Program and arguments.
        environment: Its whole environment.
        folder: Its working folder, which holds its configuration.
        output: What it printed, the processors' complaints included.
    """

    command: list[str]
    environment: dict[str, str]
    folder: Path
    output: Path


def configure_daemon(folder: WatchFolder, record: WatchRecord, target: Target, worker_id: str) -> Daemon:
    """Write the daemon's configuration.

    Raises:
        KinesisClientMissingError: amazon_kclpy is not installed.
    """
    home = (folder.workers / worker_id).resolve()
    home.mkdir(parents=True, exist_ok=True)
    properties, logback = home / "daemon.properties", home / "logback.xml"
    values = daemon_properties(record, target, worker_id)
    properties.write_text("".join(f"{name} = {value}\n" for name, value in values.items()))
    # Relative to the working folder, so that no path has to be escaped.
    logback.write_text(LOGBACK.format(log="daemon.log"))
    command = [
        str(target.java),
        f"-Xmx{HEAP}",
        "-XX:+UseSerialGC",
        *target.java_options,
        "-cp",
        f"{find_jars()}{os.sep}*",
        MAIN_CLASS,
        "--properties-file",
        str(properties),
        "--log-configuration",
        str(logback),
    ]
    own = {
        FOLDER_VARIABLE: str(folder.path.resolve()),
        WORKER_VARIABLE: worker_id,
        # The daemon splits its executable's name at blanks, so the interpreter is found by name, first in PATH.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), target.environment.get("PATH", os.defpath)]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return Daemon(command, {**target.environment, **own}, home, home / "output.log")


def daemon_properties(record: WatchRecord, target: Target, worker_id: str) -> dict[str, str]:
    """Return the daemon's configuration."""
    values = {
        "executableName": f"{Path(sys.executable).name} -m {PROCESSOR}",
        "processingLanguage": "python/3",
        "streamName": record.stream,
        "applicationName": record.application,
        "workerId": worker_id,
        "initialPositionInStream": record.position,
        "regionName": target.kinesis.meta.region_name,
        "AwsCredentialsProvider": "DefaultCredentialsProvider",
        "retrievalMode": "POLLING",
        "metricsLevel": "NONE",
        # Empty calls are the pulse of a quiet shard.
        "callProcessRecordsEvenForEmptyRecordList": "true",
        "skipShardSyncAtWorkerInitializationIfLeasesExist": "true",
    } | TIMINGS
    for name, client in (("kinesisEndpoint", target.kinesis), ("dynamoDBEndpoint", target.dynamodb)):
        if ".amazonaws." not in client.meta.endpoint_url:
            values[name] = client.meta.endpoint_url
    return values


def find_jars() -> Path:
    """Return the folder of the daemon's jars, which the Python package carries.

    Raises:
        KinesisClientMissingError: amazon_kclpy is not installed.
    """
    package = importlib.util.find_spec("amazon_kclpy")
    if package is None or package.origin is None:
        raise KinesisClientMissingError
    return Path(package.origin).parent / "jars"
