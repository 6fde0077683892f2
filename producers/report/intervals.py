"""A run second by second, in bounded memory: beyond an hour two intervals become one, and so on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from producers.report.histogram import COARSE_BUCKETS

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_INTERVALS: Final = 3_600
GROWTH: Final = 120
"""Rows added at a time."""
ACKNOWLEDGED, RETRIED, THROTTLED, CALLS = range(4)


class Intervals:
    """Counts, latencies and levels per interval since the start.

    Attributes:
        width: Seconds per interval, a power of two.
        used: Intervals from the start to the last one noted.
        counts: Events acknowledged, refused and to be sent again, of these throttled; and calls. One row an interval.
        delay: Coarse histogram of due-to-acknowledged, one row an interval.
        call: The same of calls.
        backlog: Highest number of events that waited; NaN where nothing was noted.
        memory: Highest resident memory in MB; NaN where nothing was noted.
    """

    def __init__(self, width: int = 1, rows: int = GROWTH) -> None:
        """Start empty."""
        self.width, self.used = width, 0
        self.counts = np.zeros((rows, 4), np.int64)
        self.delay = np.zeros((rows, COARSE_BUCKETS), np.uint32)
        self.call = np.zeros((rows, COARSE_BUCKETS), np.uint32)
        self.backlog = np.full(rows, np.nan)
        self.memory = np.full(rows, np.nan)

    def row(self, second: float) -> int:
        """Return the row of a moment, in seconds from the start; makes room for it."""
        place = max(int(second / self.width), 0)
        while place >= MOST_INTERVALS:
            self._coarsen()
            place = int(second / self.width)
        if place >= len(self.counts):
            missing = place + 1 - len(self.counts)
            self._grow(min(max(missing, GROWTH), MOST_INTERVALS - len(self.counts)))
        self.used = max(self.used, place + 1)
        return place

    def _grow(self, rows: int) -> None:
        more = Intervals(rows=rows)
        for name in ("counts", "delay", "call", "backlog", "memory"):
            setattr(self, name, np.concatenate([getattr(self, name), getattr(more, name)]))

    def _coarsen(self) -> None:
        """Make two intervals one: counts add up, of levels the higher one stays."""
        if len(self.counts) % 2:
            self._grow(1)
        for name in ("counts", "delay", "call"):
            values = getattr(self, name)
            setattr(self, name, values[0::2] + values[1::2])
        for name in ("backlog", "memory"):
            values = getattr(self, name)
            setattr(self, name, np.fmax(values[0::2], values[1::2]))
        self.width, self.used = self.width * 2, (self.used + 1) // 2

    def copy(self, width: int) -> Intervals:
        """Return the noted part with intervals of `width` seconds, no narrower than now."""
        copied = Intervals(self.width, rows=0)
        for name in ("counts", "delay", "call", "backlog", "memory"):
            setattr(copied, name, getattr(self, name)[: self.used].copy())
        copied.used = self.used
        while copied.width < width:
            copied._coarsen()
        return copied


def merge_intervals(parts: Sequence[Intervals]) -> Intervals:
    """Return the sum over lanes or processes. A level that a part did not note stands as it last did, to its end."""
    width = max((part.width for part in parts), default=1)
    copies = [part.copy(width) for part in parts]
    merged = Intervals(width, rows=max((part.used for part in copies), default=0))
    merged.used = len(merged.counts)
    for part in copies:
        for name in ("counts", "delay", "call"):
            getattr(merged, name)[: part.used] += getattr(part, name)[: part.used]
        for name in ("backlog", "memory"):
            ours, carried = getattr(merged, name), _carry(getattr(part, name)[: part.used])
            ours[: part.used] = np.where(
                np.isnan(carried), ours[: part.used], carried + np.nan_to_num(ours[: part.used])
            )
    return merged


def _carry(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fill what was not noted with what was noted before it, up to the last one noted."""
    noted = ~np.isnan(values)
    if not noted.any():
        return values
    last = int(np.flatnonzero(noted)[-1]) + 1
    source = np.maximum.accumulate(np.where(noted, np.arange(len(values)), 0))[:last]
    carried = values.copy()
    carried[:last] = values[source]
    return carried
