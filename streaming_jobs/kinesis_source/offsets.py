"""Where a query stands in a stream: a position per shard, as plain values that Spark keeps in its checkpoint.

A position names the last record read (`after`), or a starting rule for a shard of which nothing was read yet, and
whether the shard was read to its end. Children of a split or merge start when all their parents have ended, so records
of one key keep their order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

TRIM_HORIZON: Final = "TRIM_HORIZON"


@dataclass(frozen=True)
class Position:
    """A place in one shard.

    Attributes:
        start: `TRIM_HORIZON` or `AT_TIMESTAMP`, used while `after` is None.
        timestamp: Epoch seconds for `AT_TIMESTAMP`.
        after: Sequence number of the last record that lies before this position.
        ended: The shard is closed and nothing lies beyond this position.
    """

    start: str = TRIM_HORIZON
    timestamp: float | None = None
    after: str | None = None
    ended: bool = False


Positions = dict[str, Position]
"""Position by shard id."""


@dataclass(frozen=True)
class Shard:
    """One shard as ListShards describes it."""

    id: str
    parents: tuple[str, ...] = ()
    closed: bool = False


def encode(before: Positions, until: Positions) -> dict[str, Any]:
    """Return the offset of a batch. It carries where the batch began, so that a replay needs nothing else."""
    return {
        "from": {shard: asdict(position) for shard, position in before.items()},
        "to": {shard: asdict(position) for shard, position in until.items()},
    }


def decode(offset: Mapping[str, Any]) -> tuple[Positions, Positions]:
    """Return where the batch of this offset begins and where it ends."""
    before = {shard: Position(**value) for shard, value in offset["from"].items()}
    until = {shard: Position(**value) for shard, value in offset["to"].items()}
    return before, until


def first_positions(shards: Iterable[Shard], *, start: str, timestamp: float | None) -> Positions:
    """Return where a new query starts: with the oldest shards for `TRIM_HORIZON`, else with the open ones."""
    shards = list(shards)
    known = {shard.id for shard in shards}
    if start == TRIM_HORIZON:
        roots = [shard for shard in shards if not known.intersection(shard.parents)]
    else:
        roots = [shard for shard in shards if not shard.closed]
    return {shard.id: Position(start=start, timestamp=timestamp) for shard in roots}


def with_ready_children(positions: Positions, shards: Iterable[Shard]) -> Positions:
    """Add each shard whose parents, as far as this query has met them, were all read to their end."""
    ready = dict(positions)
    for shard in shards:
        met = [parent for parent in shard.parents if parent in positions]
        if shard.id not in ready and met and all(positions[parent].ended for parent in met):
            ready[shard.id] = Position()
    return ready


def without_finished_ancestors(positions: Positions, shards: Iterable[Shard]) -> Positions:
    """Forget ended shards that the stream itself has forgotten and whose children are being read."""
    listed = {shard.id for shard in shards}
    return {shard: place for shard, place in positions.items() if shard in listed or not place.ended}


def vanished(positions: Positions, shards: Iterable[Shard]) -> list[str]:
    """Return the shards that were not read to their end and that the stream no longer has: their records are lost."""
    listed = {shard.id for shard in shards}
    return sorted(shard for shard, place in positions.items() if shard not in listed and not place.ended)
