"""Where a query stands in a stream, as plain values that Spark keeps in its checkpoint. Pure.

An offset is the plan of a batch: where each shard begins and which task reads it. Where the batch *ends* is decided by
the tasks and recorded in the journal before the batch reaches the sink; the next plan begins there. Children of a split
or merge start when all their parents have ended, so records of one key keep their order.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from streaming_jobs.kinesis_source.options import AT_TIMESTAMP, LATEST, TRIM_HORIZON


@dataclass(frozen=True)
class Position:
    """A place in one shard.

    Attributes:
        start: `TRIM_HORIZON` or `AT_TIMESTAMP`, used while `after` is None.
        timestamp: Epoch seconds for `AT_TIMESTAMP`.
        after: Sequence number of the last record that lies before this position.
        ended: The shard is closed and nothing lies beyond this position.
        since: Epoch seconds; every record that arrived before lies before this position. None where nothing is known.
    """

    start: str = TRIM_HORIZON
    timestamp: float | None = None
    after: str | None = None
    ended: bool = False
    since: float | None = None


Positions = dict[str, Position]
"""Position by shard id."""


@dataclass(frozen=True)
class Shard:
    """One shard as ListShards describes it."""

    id: str
    parents: tuple[str, ...] = ()
    closed: bool = False


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A batch before it is read.

    Attributes:
        epoch: Identity of the checkpoint that the query began with.
        serial: Number of the batch in the epoch; 0 is where the query starts, and reads nothing.
        begin: Where each shard begins.
        tasks: The shards of each task.
        until: Where each shard ends, in offsets of releases before the journal; their batches need no journal.
        lost: Shards that vanished unread before this batch, with what is known of when, in epoch seconds.
        drained: The `endingTimestamp` up to which everything has been read; None while reading goes on.
    """

    epoch: str
    serial: int
    begin: Positions
    tasks: tuple[tuple[str, ...], ...] = ()
    until: Positions | None = None
    lost: dict[str, float | None] = field(default_factory=dict)
    drained: float | None = None

    def to_offset(self) -> dict[str, Any]:
        """Return the plan as Spark's checkpoint keeps it."""
        told = {
            "epoch": self.epoch,
            "serial": self.serial,
            "begin": {shard: asdict(position) for shard, position in self.begin.items()},
            "tasks": [list(shards) for shards in self.tasks],
        }
        return told | ({"lost": self.lost} if self.lost else {}) | ({"drained": self.drained} if self.drained else {})

    @classmethod
    def from_offset(cls, offset: Mapping[str, Any]) -> Self:
        """Read what `to_offset` wrote, or what an earlier release did."""
        if "to" in offset:
            until = _positions(offset["to"])
            begin = {shard: _positions(offset["from"]).get(shard, Position()) for shard in until}
            moved = tuple((shard,) for shard, place in until.items() if place.after != begin[shard].after)
            # The epoch must be the same for every driver that continues from here.
            epoch = uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(offset, sort_keys=True)).hex
            return cls(epoch=epoch, serial=0, begin=begin, tasks=moved, until=until)
        return cls(
            epoch=offset["epoch"],
            serial=offset["serial"],
            begin=_positions(offset["begin"]),
            tasks=tuple(tuple(shards) for shards in offset["tasks"]),
            lost=offset.get("lost", {}),
            drained=offset.get("drained"),
        )


def first_positions(
    shards: Iterable[Shard], *, start: str, timestamp: float | None, since: float | None = None
) -> Positions:
    """Return where a new query starts: with the open shards for `LATEST`, else with the oldest.

    Args:
        shards: Every shard that the stream has.
        start: `TRIM_HORIZON`, `AT_TIMESTAMP`, or `LATEST`, which becomes the moment `timestamp`.
        timestamp: Epoch seconds; None with `TRIM_HORIZON`.
        since: What to keep as each position's `since`.
    """
    shards = list(shards)
    if start == LATEST:
        chosen = [shard for shard in shards if not shard.closed]
    else:
        known = {shard.id for shard in shards}
        chosen = [shard for shard in shards if not known.intersection(shard.parents)]
    kept = TRIM_HORIZON if start == TRIM_HORIZON else AT_TIMESTAMP
    return {shard.id: Position(start=kept, timestamp=timestamp, since=since) for shard in chosen}


def with_ready_children(positions: Positions, shards: Iterable[Shard]) -> Positions:
    """Add each shard of which no parent is left to be read: all that this query reads were read to their end.

    A child takes its parents' starting rule over: a moment asked for may lie in the child.
    """
    by_id = {shard.id: shard for shard in shards}

    def is_ours(name: str) -> bool:
        """Whether this query reads or will read the shard; it never reads what was closed before it began."""
        return name in positions or any(is_ours(parent) for parent in by_id[name].parents if parent in by_id)

    def is_done(name: str) -> bool:
        return positions[name].ended if name in positions else name not in by_id or not is_ours(name)

    ready = dict(positions)
    for shard in by_id.values():
        met = [positions[parent] for parent in shard.parents if parent in positions]
        if shard.id not in ready and met and all(map(is_done, shard.parents)):
            known = [parent.since for parent in met if parent.since is not None]
            since = min(known) if len(known) == len(met) else None
            ready[shard.id] = Position(start=met[0].start, timestamp=met[0].timestamp, since=since)
    return ready


def without_finished_ancestors(positions: Positions, shards: Iterable[Shard]) -> Positions:
    """Forget ended shards that the stream itself has forgotten and whose children are being read."""
    listed = {shard.id for shard in shards}
    return {shard: place for shard, place in positions.items() if shard in listed or not place.ended}


def vanished(positions: Positions, shards: Iterable[Shard]) -> list[str]:
    """Return the shards that were not read to their end and that the stream no longer has: their records are lost."""
    listed = {shard.id for shard in shards}
    return sorted(shard for shard, place in positions.items() if shard not in listed and not place.ended)


def spread(positions: Positions, tasks: int) -> tuple[tuple[str, ...], ...]:
    """Deal the shards that have not ended out to at most `tasks` tasks; zero means a task for each shard."""
    living = sorted(shard for shard, place in positions.items() if not place.ended)
    count = min(tasks or len(living), len(living))
    return tuple(tuple(living[number::count]) for number in range(count))


def _positions(values: Mapping[str, Any]) -> Positions:
    return {shard: Position(**value) for shard, value in values.items()}
