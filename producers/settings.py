"""How events are sent, and the clock that they are sent by."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from producers.errors import ProducerError

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, kw_only=True)
class DeliverySettings:
    """How events are sent.

    Attributes:
        workers: Processes that make and send.
        concurrency: Calls in flight at once, per process; with two, one is prepared while the other is on its way.
        duration_s: Seconds after which nothing new is taken up; None means until all is sent.
        linger_s: How long events gather before a call that is not full goes out.
        aggregate_bytes: Size up to which events share a record as JSON lines; 0 gives each a record of its own.
        retry_for_s: How long one record is tried again before delivery gives up.
        first_backoff_s: Upper bound of the first pause; it doubles with each try. The pause is drawn below it.
        longest_backoff_s: Where the doubling ends.
    """

    workers: int = 1
    concurrency: int = 2
    duration_s: float | None = None
    linger_s: float = 0.05
    aggregate_bytes: int = 0
    retry_for_s: float = 60.0
    first_backoff_s: float = 0.1
    longest_backoff_s: float = 5.0

    def __post_init__(self) -> None:
        """Refuse what can't be meant."""
        if self.workers < 1 or self.concurrency < 1 or self.aggregate_bytes < 0 or self.retry_for_s < 0:
            raise ProducerError(
                expected="at least one worker and one call at a time, and no negative sizes or times",
                found=str(self),
                do="Correct the settings.",
            )


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Time as handed in: `now` in epoch seconds, `elapsed` monotonic, `sleep` in seconds."""

    now: Callable[[], float] = time.time
    elapsed: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
