"""Latencies in a fixed number of buckets: any number of values, the same memory, mergeable without loss."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LOWEST_S: Final = 1e-4
HIGHEST_S: Final = 120.0
BUCKETS: Final = 288
"""A bucket is 4.98 % wide: what is read from it is off by less than that."""
COARSE_BUCKETS: Final = 96
"""Three buckets in one, for the many histograms of a series: 15.7 % wide."""
_SPAN: Final = math.log(HIGHEST_S / LOWEST_S)


def bucket_of(seconds: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the bucket of each latency, in seconds; what is outside the range goes to the first or the last one."""
    places = np.log(np.maximum(seconds, LOWEST_S) * (1.0 / LOWEST_S)) * (BUCKETS / _SPAN)
    return np.minimum(places.astype(np.intp), BUCKETS - 1)


def upper_edges(buckets: int = BUCKETS) -> NDArray[np.float64]:
    """Return where each bucket ends, in seconds; the last one holds everything beyond as well."""
    edges: NDArray[np.float64] = LOWEST_S * np.exp(np.arange(1, buckets + 1) * (_SPAN / buckets))
    return edges


def read_quantile(counts: NDArray[Any], quantile: float, maximum: float = math.inf) -> float:
    """Return a quantile of counted latencies in seconds, NaN if there are none.

    Args:
        counts: Values per bucket, of any number of buckets over the fixed range.
        quantile: Between 0 and 1.
        maximum: The largest value in seconds, if it is known: nothing above it is returned.
    """
    total = int(counts.sum())
    if total == 0:
        return math.nan
    rank = max(quantile * total, 1.0)
    reached = np.cumsum(counts)
    place = int(np.searchsorted(reached, rank, side="left"))
    step = _SPAN / len(counts)
    lower = LOWEST_S * math.exp(place * step)
    # Beyond the range only the maximum tells how far the last bucket reaches.
    upper = max(lower * math.exp(step), maximum) if place == len(counts) - 1 and maximum < math.inf else None
    width = math.log(upper / lower) if upper else step
    before = float(reached[place - 1]) if place else 0.0
    return min(lower * math.exp(width * (rank - before) / float(counts[place])), maximum)


class LatencyHistogram:
    """Counts of latencies from 0.1 ms to 120 s; quantiles are within 5 %, the maximum is exact."""

    __slots__ = ("counts", "maximum")

    def __init__(self) -> None:
        """Start empty."""
        self.counts = np.zeros(BUCKETS, np.int64)
        self.maximum = 0.0

    @property
    def count(self) -> int:
        """Values recorded."""
        return int(self.counts.sum())

    def record(self, seconds: float, count: int = 1) -> int:
        """Count one latency, `count` times; return its bucket."""
        place = 0
        if seconds > LOWEST_S:
            place = min(int(math.log(seconds / LOWEST_S) * (BUCKETS / _SPAN)), BUCKETS - 1)
        self.counts[place] += count
        self.maximum = max(self.maximum, seconds)
        return place

    def record_all(self, seconds: Sequence[float] | NDArray[np.float64]) -> NDArray[np.intp]:
        """Count many latencies; return the count added to each bucket."""
        values = np.asarray(seconds, np.float64)
        if not len(values):
            return np.zeros(BUCKETS, np.intp)
        added = np.bincount(bucket_of(values), minlength=BUCKETS)
        self.counts += added
        self.maximum = max(self.maximum, float(values.max()))
        return added

    def quantile(self, quantile: float) -> float:
        """Return a quantile in seconds, NaN if nothing was recorded."""
        return read_quantile(self.counts, quantile, self.maximum)

    def merge(self, others: Iterable[LatencyHistogram]) -> LatencyHistogram:
        """Return a new histogram of these values and all the others'."""
        merged = LatencyHistogram()
        for one in (self, *others):
            merged.counts += one.counts
            merged.maximum = max(merged.maximum, one.maximum)
        return merged

    def bars(self, buckets: int = COARSE_BUCKETS) -> list[list[float]]:
        """Return `[upper edge in ms, count]` of every bucket from the first that is not empty to the last."""
        counts = self.counts.reshape(buckets, -1).sum(axis=1)
        filled = np.flatnonzero(counts)
        if not len(filled):
            return []
        edges = upper_edges(buckets) * 1000.0
        return [[round(float(edges[place]), 4), int(counts[place])] for place in range(filled[0], filled[-1] + 1)]

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values: the filled buckets alone."""
        filled = np.flatnonzero(self.counts)
        return {
            "buckets": BUCKETS,
            "range_s": [LOWEST_S, HIGHEST_S],
            "maximum_s": self.maximum,
            "counts": {str(place): int(self.counts[place]) for place in filled},
        }

    @classmethod
    def from_json(cls, written: dict[str, Any]) -> LatencyHistogram:
        """Read what `to_json` gave.

        Raises:
            ValueError: It has other buckets than this version's.
        """
        if written["buckets"] != BUCKETS or written["range_s"] != [LOWEST_S, HIGHEST_S]:
            raise ValueError(f"expected {BUCKETS} buckets over {[LOWEST_S, HIGHEST_S]} s, found {written['buckets']}")
        histogram = cls()
        histogram.maximum = float(written["maximum_s"])
        for place, count in written["counts"].items():
            histogram.counts[int(place)] = count
        return histogram
