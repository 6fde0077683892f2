"""A loopback proxy that spoils some of a consumer's calls: Kinesis reads and S3 requests of any method."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Final

from tests.e2e.loopback_proxy import Call, Fault, Proxied, loopback_proxy

THROTTLE: Final = Fault(
    "throttle", 400, b'{"__type":"ProvisionedThroughputExceededException"}', "application/x-amz-json-1.1"
)
TIMEOUT: Final = Fault("timeout", 0)
SLOW_DOWN: Final = Fault("slow_down", 503, b"<Error><Code>SlowDown</Code><Message>injected</Message></Error>")


@dataclass
class Faults:
    """Draws a fault for each call that `meets`, by shares; counts what was done."""

    meets: Callable[[Call], bool]
    shares: dict[Fault, float]
    rng: random.Random
    counts: Counter[str] = field(default_factory=Counter)
    _lock: Lock = field(default_factory=Lock)

    def draw(self, call: Call) -> Fault | None:
        """Decide about one call."""
        if not self.meets(call):
            return None
        with self._lock:
            self.counts["calls"] += 1
            place = self.rng.random()
            for fault, share in self.shares.items():
                if place < share:
                    self.counts[fault.name] += 1
                    return fault
                place -= share
        return None


@contextmanager
def fault_proxy(upstream: str, faults: Faults) -> Iterator[str]:
    """Listen in front of an endpoint until the end of the block, and tell where."""
    with loopback_proxy(Proxied(upstream=lambda _: upstream, intervene=faults.draw)) as url:
        yield url
