"""Packs events into the Kinesis records that carry them: one each, or many as JSON lines.

A record that contains `}` LF `{` is JSON lines to the consumer (`lakehouse.events.split_events`). So only events that
begin with `{`, end with `}` and hold no line feed share a record; any other event travels alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from producers.errors import ProducerError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from producers.slots import HashSlots

MAX_CALL_RECORDS: Final = 500
MAX_CALL_BYTES: Final = 5 * 1024 * 1024
MAX_RECORD_BYTES: Final = 1024 * 1024
AGGREGATE_BYTES: Final = 25 * 1024
"""Size of an aggregate where nothing else is asked: one PUT payload unit, the step in which Kinesis bills records."""


@dataclass(slots=True)
class Entry:
    """One record to put, and how it fares.

    Attributes:
        slot: Slot of its key.
        data: The bytes to put.
        key: Partition key.
        hash_key: Explicit hash key; None leaves it to the partition key.
        positions: Events in it, by place in the whole stream; their lines are 1, 2, 3 …
        dues: When each event was due, seconds from the start.
        weight: Bytes as Kinesis counts them, partition key included.
        tries: Calls that carried it.
        unanswered: Calls that carried it and got no answer: each may have put it.
        sent_at: Epoch seconds of its first call.
        first_try: Seconds from the start, of its first call.
        not_before: Seconds from the start before which it must not be tried again.
        refused_with: Error code of its last failed try.
    """

    slot: int
    data: bytes
    key: str
    hash_key: str | None
    positions: list[int]
    dues: list[float]
    weight: int
    tries: int = 0
    unanswered: int = 0
    sent_at: float = 0.0
    first_try: float = 0.0
    not_before: float = 0.0
    refused_with: str | None = None


@dataclass(slots=True)
class _Open:
    """An aggregate that still takes events."""

    lines: list[bytes] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    dues: list[float] = field(default_factory=list)
    size: int = 0


class Packer:
    """Makes entries from successive events of one lane; the events of one key keep their order."""

    def __init__(self, slots: HashSlots, aggregate_bytes: int = 0) -> None:
        """Pack aggregates of up to `aggregate_bytes`; 0 gives each event a record of its own."""
        self._slots = slots
        self._limit = aggregate_bytes
        self._keys = [f"slot-{slot}" for slot in range(slots.count)]
        self._hash_keys = [str(slots.middle(slot)) for slot in range(slots.count)]

    def pack(
        self, positions: Sequence[int], payloads: Sequence[bytes], keys: Sequence[str], dues: Sequence[float]
    ) -> list[Entry]:
        """Return the entries for these events, all of them closed.

        Raises:
            ProducerError: An event is larger than a shard takes.
        """
        if self._limit:
            return self._pack_lines(positions, payloads, keys, dues)
        slot_of = self._slots.slot_of
        entries = []
        for position, payload, key, due in zip(positions, payloads, keys, dues, strict=True):
            weight = len(payload) + len(key.encode())
            if weight > MAX_RECORD_BYTES:
                raise _too_large(weight, position)
            entries.append(Entry(slot_of(key), payload, key, None, [position], [due], weight))
        return entries

    def _pack_lines(
        self, positions: Sequence[int], payloads: Sequence[bytes], keys: Sequence[str], dues: Sequence[float]
    ) -> list[Entry]:
        # Once an event: the length of this loop is what an aggregating producer can send.
        slot_of, limit = self._slots.slot_of, self._limit
        entries: list[Entry] = []
        opened: dict[int, _Open] = {}
        for position, payload, key, due in zip(positions, payloads, keys, dues, strict=True):
            slot = slot_of(key)
            size = len(payload) + 1
            current = opened.get(slot)
            if payload[:1] == b"{" and payload[-1:] == b"}" and b"\n" not in payload:
                if current is None:
                    current = opened[slot] = _Open()
                elif current.size + size > limit:
                    entries.append(self._close(slot, current))
                    current = opened[slot] = _Open()
                current.lines.append(payload)
                current.positions.append(position)
                current.dues.append(due)
                current.size += size
            else:
                if current is not None:
                    entries.append(self._close(slot, opened.pop(slot)))
                entries.append(self._close(slot, _Open([payload], [position], [due])))
        entries += [self._close(slot, current) for slot, current in opened.items()]
        return entries

    def _close(self, slot: int, current: _Open) -> Entry:
        data = b"\n".join(current.lines)
        key = self._keys[slot]
        weight = len(data) + len(key)
        if weight > MAX_RECORD_BYTES:
            raise _too_large(weight, current.positions[0])
        return Entry(slot, data, key, self._hash_keys[slot], current.positions, current.dues, weight)


def _too_large(weight: int, position: int) -> ProducerError:
    return ProducerError(
        expected=f"records of at most {MAX_RECORD_BYTES} bytes, partition key included",
        found=f"{weight} bytes in the record of event {position + 1}",
        do="Leave that event out, or lower --aggregate; no shard takes it.",
    )
