"""The records of a lane that wait: taken up and not yet acknowledged, in order.

While a failed record waits, newer ones of its slot of keys wait behind it, and a shard that refused everything rests
altogether. The rest goes on, so that one throttled shard does not slow the others.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from producers.packing import MAX_CALL_BYTES, MAX_CALL_RECORDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from producers.packing import Entry
    from producers.settings import DeliverySettings
    from producers.slots import HashSlots, ShardMap

MOST_HELD: Final = 2_000
"""Records that a lane holds; beyond that it takes up nothing new."""


class Held:
    """A queue that gives each call what may go out now."""

    def __init__(
        self, slots: HashSlots, shards: ShardMap, settings: DeliverySettings, rng: np.random.Generator
    ) -> None:
        """Start empty; `rng` draws the pauses between tries."""
        self._slots, self._shards, self._settings, self._rng = slots, shards, settings, rng
        self._entries: list[Entry] = []
        self._resting: dict[str, float] = {}

    def __len__(self) -> int:
        """Number of records."""
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        """The records, oldest first."""
        return iter(self._entries)

    @property
    def is_full(self) -> bool:
        """Tell whether nothing more may be added."""
        return len(self._entries) >= MOST_HELD

    @property
    def oldest_due(self) -> float | None:
        """When the oldest event was due, in seconds from the start."""
        oldest = self._entries[:1]
        return oldest[0].dues[0] if oldest else None

    def add(self, entries: list[Entry]) -> None:
        """Add new records behind the others."""
        self._entries += entries

    def put_back(self, entries: list[Entry]) -> None:
        """Put records in front of the others, as they were."""
        self._entries = entries + self._entries

    def choose(self, now: float) -> list[Entry]:
        """Take out the records of the next call, in order; a slot that waits keeps all of its own."""
        resting = {shard for shard, until in self._resting.items() if until > now}
        call: list[Entry] = []
        kept: list[Entry] = []
        size = 0
        waiting: set[int] = set()
        for place, entry in enumerate(self._entries):
            if len(call) == MAX_CALL_RECORDS or size + entry.weight > MAX_CALL_BYTES:
                kept += self._entries[place:]
                break
            # Nearly always nothing rests, and looking up every record's shard would cost more than all else here.
            rests = bool(resting) and self._shard_of(entry) in resting
            if rests or entry.slot in waiting or entry.not_before > now:
                waiting.add(entry.slot)
                kept.append(entry)
            else:
                call.append(entry)
                size += entry.weight
        self._entries = kept
        return call

    def next_try(self, now: float) -> float | None:
        """Return when a record that waits may be tried again, in seconds from the start."""
        if not self._entries:
            return None
        # Those without a time of their own wait behind one that has, or for their shard.
        times = [*(entry.not_before for entry in self._entries), *self._resting.values()]
        return min((moment for moment in times if moment > now), default=None)

    def hold_back(self, call: list[Entry], failed: list[Entry], now: float) -> None:
        """Put the failed records of a call in front of the others, and let them wait.

        A shard that refused all of its records rests; otherwise only what was refused waits, and the slot behind it.
        """
        if not failed:
            return
        tried = Counter(self._shard_of(entry) for entry in call)
        refused = Counter(self._shard_of(entry) for entry in failed)
        slots: dict[int, float] = {}
        for entry in failed:
            shard = self._shard_of(entry)
            if refused[shard] < tried[shard]:
                if entry.slot not in slots:
                    slots[entry.slot] = now + self._draw_backoff(entry)
                entry.not_before = slots[entry.slot]
            elif self._resting.get(shard, 0.0) <= now:
                self._resting[shard] = now + self._draw_backoff(entry)
        self.put_back(failed)

    def _draw_backoff(self, entry: Entry) -> float:
        doubled = self._settings.first_backoff_s * 2 ** min(entry.tries - 1, 30)
        return float(self._rng.uniform(0.0, min(self._settings.longest_backoff_s, doubled)))

    def _shard_of(self, entry: Entry) -> str:
        return self._shards.shard_of(self._slots.middle(entry.slot))
