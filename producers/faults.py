"""Faults with a known answer: which record of a stream is which kind of fault, and what must become of it.

A plan is made, block by block, before any byte is: it says for each record which listen it tells of and how it is
spoiled. Faults never meet in one listen: an event that is late, malformed or unknown is never sent again. Repeats
stay in their block.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from producers.errors import ProducerError
from producers.malformed import MALFORMATIONS
from producers.wording import Wording

if TYPE_CHECKING:
    from producers.malformed import Malformation
    from producers.shape import Ints

CONFLICT_DISTANCE: Final = 2_000
"""Records between a listen and the one that contradicts it: more than a PutRecords batch, so it arrives later."""
DUPLICATE_DISTANCE: Final = 5_000
DISPLACEMENT: Final = 3_000
"""Most records by which a listen that is out of order comes later."""
EVERY_KIND_FROM: Final = 1_000
"""Number of events from which each kind with a rate above zero occurs at least once."""
SHORTEST_DELAY_S: Final = 120.0
LONGEST_DELAY_S: Final = 3 * 86_400.0


class Kind(IntEnum):
    """What a record is."""

    LISTEN = 0
    LATE = 1
    OUT_OF_ORDER = 2
    MALFORMED = 3
    OVERSIZE = 4
    WRONG_ENCODING = 5
    UNKNOWN_USER = 6
    UNKNOWN_TRACK = 7
    DUPLICATE = 8
    REPHRASED_DUPLICATE = 9
    CONFLICTING_DUPLICATE = 10


EXPECTED: Final = {
    Kind.LISTEN: "accepted",
    Kind.LATE: "accepted",
    Kind.OUT_OF_ORDER: "accepted",
    Kind.UNKNOWN_USER: "unknown_user",
    Kind.UNKNOWN_TRACK: "unknown_track",
    Kind.DUPLICATE: "duplicate",
    Kind.REPHRASED_DUPLICATE: "duplicate",
    Kind.CONFLICTING_DUPLICATE: "conflicting_duplicate",
}
"""What must become of each kind; the reason of one of `MALFORMED_WAYS` depends on the way it is broken."""
MALFORMED_WAYS: Final = {
    Kind.MALFORMED: tuple(way for way in MALFORMATIONS if way.reason not in ("oversize", "invalid_utf8")),
    Kind.OVERSIZE: tuple(way for way in MALFORMATIONS if way.reason == "oversize"),
    Kind.WRONG_ENCODING: tuple(way for way in MALFORMATIONS if way.reason == "invalid_utf8"),
}
"""Ways to break an event, in turn, of the kinds that are no event."""
OUTCOMES: Final = (
    *((kind.name.lower(), EXPECTED.get(kind, "")) for kind in Kind),
    *((way.name, way.reason) for ways in MALFORMED_WAYS.values() for way in ways),
)
"""Name and expected outcome by `number_outcomes`."""
SPOILED: Final = (Kind.LATE, *MALFORMED_WAYS, Kind.UNKNOWN_USER, Kind.UNKNOWN_TRACK)
REPEATS: Final = (Kind.DUPLICATE, Kind.REPHRASED_DUPLICATE, Kind.CONFLICTING_DUPLICATE)

Counts = dict[Kind, int]


@dataclass(frozen=True, kw_only=True)
class FaultRates:
    """Share of all records that each kind of fault gets.

    Attributes:
        late: Listens of minutes to days before.
        out_of_order: Listens that come up to thousands of records later.
        malformed: Events that are broken in one of many ways, save the next two.
        oversize: Events above the size limit.
        wrong_encoding: Events that are no UTF-8.
        unknown_user: Listens of a user who is in no dimension file.
        unknown_track: Listens of a track that is in no dimension file.
        duplicate: Repeats with the same bytes.
        rephrased_duplicate: Repeats of the same listen in other bytes.
        conflicting_duplicate: Repeats of an event id and time with another track.
    """

    late: float = 0.02
    out_of_order: float = 0.005
    malformed: float = 0.0045
    oversize: float = 0.0001
    wrong_encoding: float = 0.0004
    unknown_user: float = 0.002
    unknown_track: float = 0.002
    duplicate: float = 0.008
    rephrased_duplicate: float = 0.002
    conflicting_duplicate: float = 0.001

    def count(self, events: int) -> Counts:
        """Return how many of `events` records are of each kind of fault."""
        rates = {Kind[item.name.upper()]: float(getattr(self, item.name)) for item in fields(self)}
        least = 1 if events >= EVERY_KIND_FROM else 0
        return {kind: max(least, round(rate * events)) if rate > 0 else 0 for kind, rate in rates.items()}


@dataclass(frozen=True, kw_only=True)
class FaultPlan:
    """What is sent, in order.

    Attributes:
        listen: Per record, the index of the listen it tells of.
        kind: Per record, a `Kind`.
        way: Per record, which of the ways to be of that kind; 0 for most.
    """

    listen: Ints
    kind: Ints
    way: Ints


def is_malformed(kind: Ints) -> NDArray[np.bool_]:
    """Return which of these kinds are among `MALFORMED_WAYS`, which stand next to each other."""
    return (kind >= min(MALFORMED_WAYS)) & (kind <= max(MALFORMED_WAYS))


def pick_way(kind: Kind, way: int) -> Malformation:
    """Return how a record of one of `MALFORMED_WAYS` is broken."""
    ways = MALFORMED_WAYS[kind]
    return ways[way % len(ways)]


def number_outcomes(kind: Ints, way: Ints) -> Ints:
    """Return the index in `OUTCOMES` of records of this kind and way."""
    number, first = kind.copy(), len(Kind)
    for broken, ways in MALFORMED_WAYS.items():
        places = np.flatnonzero(kind == broken)
        number[places] = first + way[places] % len(ways)
        first += len(ways)
    return number


def count_repeats(counts: Counts) -> int:
    """Return how many records tell of another record's listen."""
    return sum(counts[kind] for kind in REPEATS)


def plan_faults(rng: np.random.Generator, before: Counts, after: Counts, wording: Ints) -> FaultPlan:
    """Decide what each record of a block is.

    Args:
        rng: Source of the decisions.
        before: Faults of each kind in the blocks before this one.
        after: Faults of each kind up to the end of this block.
        wording: `Wording` of the block's listens.

    Raises:
        ProducerError: There are more faults than the block has plain listens for.
    """
    counts = {kind: after[kind] - before[kind] for kind in after}
    listens = len(wording)
    kind = np.full(listens, Kind.LISTEN, dtype=np.int64)
    free = rng.permutation(listens)
    for spoiled in SPOILED:
        kind[free[: counts[spoiled]]] = spoiled
        free = free[counts[spoiled] :]
    # Only what is early enough can come well after its place; a listen can only be contradicted by its own id.
    early = free[free < max(listens // 2, listens - 2 * CONFLICT_DISTANCE)]
    displaced, early = np.split(early, [counts[Kind.OUT_OF_ORDER]])
    kind[displaced] = Kind.OUT_OF_ORDER
    conflicted = early[wording[early] != Wording.NO_EVENT_ID][: counts[Kind.CONFLICTING_DUPLICATE]]
    plain = np.setdiff1d(free, np.concatenate([displaced, conflicted]), assume_unique=True)
    repeated = rng.permutation(plain)[: counts[Kind.DUPLICATE] + counts[Kind.REPHRASED_DUPLICATE]]
    if np.count_nonzero(kind) + len(repeated) + len(conflicted) != sum(counts.values()):
        raise ProducerError(
            expected="fault rates that leave enough plain listens to repeat",
            found=f"{sum(counts.values())} faults over {listens} listens",
            do="Lower the rates; 0.3 in all always fits.",
        )
    place = np.arange(listens, dtype=np.float64)
    place[displaced] += rng.integers(1, DISPLACEMENT, len(displaced)) + 0.5
    # Half of the repeats follow at once, as a retry would; the rest come any time later.
    distance = np.where(rng.random(len(repeated)) < 0.5, 1, rng.integers(1, DUPLICATE_DISTANCE, len(repeated)))
    contradicted_after = CONFLICT_DISTANCE + rng.integers(0, CONFLICT_DISTANCE, len(conflicted))
    place = np.concatenate([place, repeated + distance + 0.5, conflicted + contradicted_after + 0.5])
    order = np.argsort(place, kind="stable")
    repeats = np.repeat(REPEATS, [counts[repeat] for repeat in REPEATS])
    kind = np.concatenate([kind, repeats])[order]
    listen = np.concatenate([np.arange(listens), repeated, conflicted])[order]
    return FaultPlan(listen=listen, kind=kind, way=_number_ways(kind, before))


def draw_delays_ms(rng: np.random.Generator, count: int) -> Ints:
    """Return how far `count` late listens lie back, minutes to days."""
    return (np.exp(rng.uniform(np.log(SHORTEST_DELAY_S), np.log(LONGEST_DELAY_S), count)) * 1_000).astype(np.int64)


def _number_ways(kind: Ints, before: Counts) -> Ints:
    """Number the records of each kind that has several ways, on from those of the blocks before."""
    way = np.zeros(len(kind), dtype=np.int64)
    for varied in (*MALFORMED_WAYS, Kind.REPHRASED_DUPLICATE):
        places = np.flatnonzero(kind == varied)
        way[places] = before[varied] + np.arange(len(places))
    return way
