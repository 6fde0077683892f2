"""What a lane measures while it delivers: one call per PutRecords call, cheap, mergeable over lanes and processes.

Two latencies. `call` is one PutRecords call. `delay` runs from the moment at which an event was due to its
acknowledgement: a stream that stalls cannot hide behind events that were not sent meanwhile (coordinated omission).
All seconds count from the start of the run, which all lanes share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from producers.report.histogram import BUCKETS, COARSE_BUCKETS, LatencyHistogram, read_quantile
from producers.report.intervals import ACKNOWLEDGED, CALLS, RETRIED, THROTTLED, Intervals, merge_intervals
from producers.report.totals import THROTTLING_CODES, Totals

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

COARSE: Final = BUCKETS // COARSE_BUCKETS


@dataclass(frozen=True)
class Snapshot:
    """Where a run stands: small enough to be sent from process to process several times a second.

    Attributes:
        totals: Sums since the start.
        delay: Due to acknowledged, since the start.
        call: Calls, since the start.
        recent_delay: Coarse counts of `delay` in the last seconds; read with `histogram.read_quantile`.
        recent_acknowledged: Events acknowledged in the last seconds.
        recent_s: How many seconds that is.
        backlog: Events that wait, as last noted; None if nobody noted it.
        memory_mb: Resident memory of the processes, as last noted; None if nobody noted it.
    """

    totals: Totals
    delay: LatencyHistogram
    call: LatencyHistogram
    recent_delay: NDArray[np.int64]
    recent_acknowledged: int
    recent_s: float
    backlog: float | None
    memory_mb: float | None

    @property
    def recent_rate(self) -> float:
        """Events acknowledged per second, lately."""
        return self.recent_acknowledged / self.recent_s if self.recent_s > 0 else 0.0

    def recent_delay_quantile(self, quantile: float) -> float:
        """Return a quantile of the last seconds' `delay` in seconds, NaN if there was none."""
        return read_quantile(self.recent_delay, quantile)


class Measures:
    """What one lane measures; picklable, and flat in memory for a run of any length."""

    def __init__(self) -> None:
        """Start empty."""
        self.totals = Totals()
        self.call, self.delay = LatencyHistogram(), LatencyHistogram()
        self.intervals = Intervals()
        self._last_backlog: float | None = None
        self._last_memory: float | None = None

    def note_call(
        self,
        second: float,
        *,
        seconds: float,
        acknowledged: int,
        refused: Mapping[str, int],
        bytes_acknowledged: int,
        records: int,
        record_delay: Sequence[float] | NDArray[np.float64],
        shards: Mapping[str, int],
        unanswered: bool,
        record_sizes: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        """Note one PutRecords call.

        Args:
            second: When it was answered or given up, from the start of the run.
            seconds: How long it took.
            acknowledged: Events acknowledged.
            refused: Events not acknowledged, by error code.
            bytes_acknowledged: Bytes of the records acknowledged.
            records: Kinesis records acknowledged.
            record_delay: Per event acknowledged, seconds from being due to being acknowledged; empty without a rate.
            shards: Events acknowledged per shard.
            unanswered: No answer came.
            record_sizes: Bytes of each record acknowledged, per shard. With them billing is exact and shards have
                records and bytes; without them the call's mean size stands for each of its records.
        """
        totals, intervals = self.totals, self.intervals
        totals.calls += 1
        totals.acknowledged += acknowledged
        totals.records += records
        totals.bytes += bytes_acknowledged
        totals.unanswered += unanswered
        for shard_id, events in shards.items():
            totals.shards[shard_id] += events
        totals.add_sizes(records, bytes_acknowledged, record_sizes)
        row = intervals.row(second)
        counts = intervals.counts[row]
        counts[ACKNOWLEDGED] += acknowledged
        counts[CALLS] += 1
        intervals.call[row, self.call.record(seconds) // COARSE] += 1
        if len(record_delay):
            intervals.delay[row] += self.delay.record_all(record_delay).reshape(-1, COARSE).sum(axis=1, dtype=np.uint32)
        for code, events in refused.items():
            totals.refused[code] += events
            counts[RETRIED] += events
            if code in THROTTLING_CODES:
                counts[THROTTLED] += events

    def note_given_up(self, refused: Mapping[str, int]) -> None:
        """Note events whose last try failed and that are not sent again, by error code."""
        self.totals.given_up.update(refused)

    def note_backlog(self, second: float, events: float) -> None:
        """Note how many events wait in this lane: due or taken up, and not acknowledged."""
        row = self.intervals.row(second)
        self.intervals.backlog[row] = np.fmax(self.intervals.backlog[row], events)
        self._last_backlog = events

    def note_memory(self, second: float, megabytes: float) -> None:
        """Note the resident memory of the process, in one of its lanes only: lanes are added up."""
        row = self.intervals.row(second)
        self.intervals.memory[row] = np.fmax(self.intervals.memory[row], megabytes)
        self._last_memory = megabytes

    def snapshot(self, second: float, recent_s: float = 5.0) -> Snapshot:
        """Return where it stands at `second`; the lane may go on counting in another thread."""
        totals = Totals()
        totals.add(self.totals)
        width = self.intervals.width
        # The interval that has begun is not whole: a rate over it would read too low.
        end = int(second / width)
        begin = max(end - max(int(recent_s / width), 1), 0)
        window = slice(begin, end)
        return Snapshot(
            totals=totals,
            delay=self.delay.merge([]),
            call=self.call.merge([]),
            recent_delay=self.intervals.delay[window].sum(axis=0, dtype=np.int64),
            recent_acknowledged=int(self.intervals.counts[window, ACKNOWLEDGED].sum()),
            recent_s=float((end - begin) * width),
            backlog=self._last_backlog,
            memory_mb=self._last_memory,
        )


def merge(measures: Iterable[Measures]) -> Measures:
    """Return the measures of all lanes together; those given stay as they are."""
    parts = list(measures)
    merged = Measures()
    for part in parts:
        merged.totals.add(part.totals)
    merged.call = merged.call.merge(part.call for part in parts)
    merged.delay = merged.delay.merge(part.delay for part in parts)
    merged.intervals = merge_intervals([part.intervals for part in parts])
    merged._last_backlog = _sum_known(part._last_backlog for part in parts)
    merged._last_memory = _sum_known(part._last_memory for part in parts)
    return merged


def merge_snapshots(snapshots: Iterable[Snapshot]) -> Snapshot:
    """Return one snapshot of all lanes."""
    parts = list(snapshots)
    totals = Totals()
    for part in parts:
        totals.add(part.totals)
    recent: NDArray[np.int64] = np.zeros(COARSE_BUCKETS, np.int64)
    return Snapshot(
        totals=totals,
        delay=LatencyHistogram().merge(part.delay for part in parts),
        call=LatencyHistogram().merge(part.call for part in parts),
        recent_delay=sum((part.recent_delay for part in parts), start=recent),
        recent_acknowledged=sum(part.recent_acknowledged for part in parts),
        recent_s=max((part.recent_s for part in parts), default=0.0),
        backlog=_sum_known(part.backlog for part in parts),
        memory_mb=_sum_known(part.memory_mb for part in parts),
    )


def _sum_known(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
