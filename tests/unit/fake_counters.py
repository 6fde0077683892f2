"""The trigger's counters in memory, thousands of times faster than on moto.

`test_lambdas_counters` holds them to the answers of the real ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lambdas.start_jobs.decisions import Counts
from lambdas.start_jobs.messages import Request

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class Item:
    """What `Counters` keeps of one request."""

    requested: int = 0
    succeeded: int = 0
    failures: int = 0
    requested_for: float = -1.0
    failed_runs: frozenset[str] = frozenset()


def _go_on() -> None:
    pass


@dataclass
class FakeCounters:
    """`Counters` in memory.

    Attributes:
        before_access: Called before each access; a test may let the world move on there.
        items: What is kept.
    """

    before_access: Callable[[], None] = _go_on
    items: dict[Request, Item] = field(default_factory=lambda: {request: Item() for request in Request})

    def _access(self, request: Request) -> Item:
        self.before_access()
        return self.items[request]

    def read(self, request: Request) -> Counts:
        item = self._access(request)
        return Counts(item.requested, item.succeeded, item.failures)

    def ask(self, request: Request, *, after: float | None = None) -> None:
        item = self._access(request)
        if after is None or item.requested_for < after:
            item.requested += 1
            item.requested_for = item.requested_for if after is None else after

    def succeed(self, request: Request, generation: int) -> None:
        item = self._access(request)
        if item.succeeded < generation <= item.requested:
            item.succeeded, item.failures, item.failed_runs = generation, 0, frozenset()

    def fail(self, request: Request, generation: int, *, run_id: str, times: int = 1) -> None:
        item = self._access(request)
        if run_id not in item.failed_runs and item.succeeded < generation:
            item.failures += times
            item.failed_runs |= {run_id}

    def forgive(self, request: Request) -> None:
        self._access(request).failures = 0
