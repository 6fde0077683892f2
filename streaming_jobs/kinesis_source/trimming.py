"""Records that a living shard has trimmed before they were read: does a position still hold?

Kinesis hands out an iterator for a sequence number that is long gone, and starts it at the oldest record without a
word. Nothing can be missing while a position is younger than the stream's retention, so that only an old one costs a
call.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from streaming_jobs.kinesis_source.offsets import Position
from streaming_jobs.kinesis_source.patience import Budget

if TYPE_CHECKING:
    from streaming_jobs.kinesis_source.client import StreamClient

MARGIN_SECONDS: Final = 600.0
"""Clocks differ, and trimming is not punctual."""


@dataclass(frozen=True)
class Loss:
    """What is missing of one shard; how many records that were, Kinesis no longer knows.

    Attributes:
        position: Sequence number or rule after which records are missing.
        oldest: Sequence number of the oldest record that is left; None when the shard is empty.
        since: Epoch seconds; records that arrived from then on are missing …
        until: … up to then.
    """

    position: str
    oldest: str | None
    since: float
    until: float

    @property
    def told(self) -> str:
        """What was found, in words."""
        left = f"record {self.oldest} as the oldest one left" if self.oldest else "no record left"
        hours = (self.until - self.since) / 3600
        return (
            f"{left}: whatever arrived between {_shown(self.since)} and {_shown(self.until)} ({hours:.1f} hours) was "
            "trimmed unread"
        )


def find_loss(
    client: StreamClient, shard: str, begin: Position, *, now: float, retention_seconds: float
) -> Loss | None:
    """Return what is missing between a position and the oldest record that is left.

    Args:
        client: The stream.
        shard: The shard.
        begin: The position.
        now: Epoch seconds.
        retention_seconds: How long the stream keeps records.
    """
    if begin.since is None or now - begin.since < retention_seconds - MARGIN_SECONDS:
        return None
    oldest: str | None = None
    arrived = now - retention_seconds
    pace = Budget(5.0, 0.0, time.monotonic, time.sleep)
    for answer in client.fetch(shard, Position(), limit=lambda: 1, budget=pace):
        if answer.numbers:
            oldest, arrived = answer.numbers[0], answer.arrivals[0] / 1e6
            break
        if not answer.millis_behind:
            break
    is_kept = begin.after is not None and oldest is not None and int(oldest) <= int(begin.after)
    if is_kept or arrived <= begin.since:
        return None
    return Loss(begin.after or begin.start, oldest, begin.since, arrived)


def _shown(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
