"""Takes the events of a lane up when they are due, a full call or a linger at a time."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Final, NamedTuple

from producers.errors import LaneError, ProducerError
from producers.packing import MAX_CALL_BYTES, MAX_CALL_RECORDS, Entry, Packer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from producers.records import Chunk
    from producers.settings import DeliverySettings

MOST_AGGREGATED: Final = 100_000
"""Events taken up at once when many share a record; then a call is full by its bytes."""


class Due(NamedTuple):
    """Successive events of the lane with the time at which each is due, in seconds from the start; ascending."""

    chunk: Chunk
    seconds: list[float]


class Intake:
    """The events of one lane that are still to be taken up.

    Attributes:
        taken: Events taken up.
    """

    def __init__(self, feed: Iterator[Due], packer: Packer, settings: DeliverySettings) -> None:
        """Wait for the first events of `feed`."""
        self.taken = 0
        self._feed, self._packer, self._settings = feed, packer, settings
        self._most = MOST_AGGREGATED if settings.aggregate_bytes else MAX_CALL_RECORDS
        self._over = False
        self._next: Due | None = None
        self._at = 0
        self._advance()

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing more will be taken up: the events or the duration have ended."""
        return self._next is None or self._over

    @property
    def next_due(self) -> float | None:
        """When the first event not taken up is due, in seconds from the start."""
        following, at = self._next, self._at
        return following.seconds[at] if following is not None and at < len(following.seconds) else None

    def gathered_at(self) -> float | None:
        """Return when there is something to take up: a full call, one that has lingered, or the end of the duration."""
        if self._next is None:
            return None
        dues = self._next.seconds
        moments = [dues[self._at] + self._settings.linger_s]
        full = self._at + self._most - 1
        if full < len(dues):
            moments.append(dues[full])
        if self._settings.duration_s is not None:
            moments.append(self._settings.duration_s)
        return min(moments)

    def take(self, now: float) -> list[Entry]:
        """Return what has gathered, packed into records; nothing if it may still linger.

        Raises:
            LaneError: An event is larger than a shard takes.
        """
        gathered = self.gathered_at()
        if gathered is None or gathered > now:
            return []
        duration = self._settings.duration_s
        self._over = duration is not None and now >= duration
        until = now if duration is None else min(now, duration)
        positions: list[int] = []
        payloads: list[bytes] = []
        keys: list[str] = []
        dues: list[float] = []
        room = MAX_CALL_BYTES
        while self._next is not None and room > 0 and len(positions) < self._most:
            chunk, seconds = self._next
            end = min(bisect_right(seconds, until, self._at), self._at + self._most - len(positions))
            if end == self._at:
                break
            window = slice(self._at, end)
            positions += chunk.positions[window]
            payloads += chunk.payloads[window]
            keys += chunk.keys[window]
            dues += seconds[window]
            room -= sum(map(len, chunk.payloads[window]))
            self._at = end
            if end == len(seconds):
                self._advance()
        self.taken += len(positions)
        try:
            return self._packer.pack(positions, payloads, keys, dues)
        except ProducerError as error:
            raise LaneError(expected=error.expected, found=error.found, do=error.do) from error

    def _advance(self) -> None:
        self._next, self._at = next(self._feed, None), 0
