"""What a local cloud can be told about itself."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Final, Self

REGION: Final = "us-east-1"
ACCOUNT: Final = "000000000000"
HOST: Final = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class CloudOptions:
    """Choices of one local cloud, kept in its `cloud.json`.

    Attributes:
        prefix: Put before bucket names.
        shards: Shards of the stream.
        spark_master: Where Spark runs the jobs.
        driver_memory: Heap of each job's JVM.
        stop_grace_seconds: Time that a job has to finish its work after it was asked to stop.
        proxy: URL at which jobs and the Lambda reach AWS, of somebody who stands between to spoil or to judge their
            calls; empty for the emulator itself.
    """

    prefix: str = "local"
    shards: int = 2
    spark_master: str = "local[2]"
    driver_memory: str = "1g"
    stop_grace_seconds: float = 30.0
    proxy: str = ""

    def to_json(self) -> str:
        """Return the options as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        known = {item.name for item in fields(cls)}
        return cls(**{name: value for name, value in json.loads(text).items() if name in known})
