"""Faults with a known answer: which record of a stream is which kind of fault, and what must become of it.

A plan is made before any byte is: it says for each record which listen it tells of and how it is spoiled. Faults
never meet in one listen: an event that is late, malformed or unknown is never sent again.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Final

import numpy as np

from producers.errors import ProducerError
from producers.listens import Ints, Wording

CONFLICT_DISTANCE: Final = 2_000
"""Records between a listen and the one that contradicts it: more than a PutRecords batch, so it arrives later."""
DUPLICATE_DISTANCE: Final = 5_000
EVERY_KIND_FROM: Final = 1_000
"""Number of events from which each kind with a rate above zero occurs at least once."""
SHORTEST_DELAY_S: Final = 120.0
LONGEST_DELAY_S: Final = 3 * 86_400.0
MICROS: Final = 1_000_000


class Kind(IntEnum):
    """What a record is."""

    LISTEN = 0
    LATE = 1
    MALFORMED = 2
    UNKNOWN_USER = 3
    UNKNOWN_TRACK = 4
    DUPLICATE = 5
    CONFLICTING_DUPLICATE = 6


EXPECTED: Final = {
    Kind.LISTEN: "accepted",
    Kind.LATE: "accepted",
    Kind.UNKNOWN_USER: "unknown_user",
    Kind.UNKNOWN_TRACK: "unknown_track",
    Kind.DUPLICATE: "duplicate",
    Kind.CONFLICTING_DUPLICATE: "conflicting_duplicate",
}
"""What must become of each kind; a malformed record's reason depends on the way it is broken."""


@dataclass(frozen=True, kw_only=True)
class FaultRates:
    """Share of all records that each kind of fault gets."""

    late: float = 0.02
    malformed: float = 0.005
    unknown_user: float = 0.002
    unknown_track: float = 0.002
    duplicate: float = 0.01
    conflicting_duplicate: float = 0.001

    def count(self, events: int) -> dict[Kind, int]:
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
    """

    listen: Ints
    kind: Ints


def count_listens(events: int, rates: FaultRates) -> int:
    """Return how many listens `events` records tell of: each repeat tells of another record's listen."""
    counts = rates.count(events)
    return events - counts[Kind.DUPLICATE] - counts[Kind.CONFLICTING_DUPLICATE]


def plan_faults(seed: int, events: int, rates: FaultRates, wording: Ints) -> FaultPlan:
    """Decide what each record is.

    Args:
        seed: Same seed and arguments, same plan.
        events: Number of records, repeats included.
        rates: Share of each kind.
        wording: `Listens.wording` of the `count_listens` listens.

    Raises:
        ProducerError: The rates ask for more repeats than there are plain listens.
    """
    rng = np.random.default_rng([seed, 4])
    counts = rates.count(events)
    listens = len(wording)
    kind = np.full(listens, Kind.LISTEN, dtype=np.int64)
    free = rng.permutation(listens)
    for spoiled in (Kind.LATE, Kind.MALFORMED, Kind.UNKNOWN_USER, Kind.UNKNOWN_TRACK):
        kind[free[: counts[spoiled]]] = spoiled
        free = free[counts[spoiled] :]
    # A listen can only be contradicted by its own id, and early enough for the contradiction to come well after it.
    early = max(listens // 2, listens - 2 * CONFLICT_DISTANCE)
    can_conflict = (wording[free] != Wording.NO_EVENT_ID) & (free < early)
    conflicted = free[can_conflict][: counts[Kind.CONFLICTING_DUPLICATE]]
    repeated = np.setdiff1d(free, conflicted, assume_unique=True)
    repeated = rng.permutation(repeated)[: counts[Kind.DUPLICATE]]
    # Half of the repeats follow at once, as a retry would; the rest come any time later.
    distance = np.where(rng.random(len(repeated)) < 0.5, 1, rng.integers(1, DUPLICATE_DISTANCE, len(repeated)))
    contradicted_after = CONFLICT_DISTANCE + rng.integers(0, CONFLICT_DISTANCE, len(conflicted))
    place = np.concatenate([np.arange(listens), repeated + distance + 0.5, conflicted + contradicted_after + 0.5])
    if len(place) != events:
        raise ProducerError(
            expected="fault rates that leave enough plain listens to repeat",
            found=f"{rates} for {events} events",
            do="Lower the rates; 0.3 in all always fits.",
        )
    order = np.argsort(place, kind="stable")
    repeats = [np.full(len(repeated), Kind.DUPLICATE), np.full(len(conflicted), Kind.CONFLICTING_DUPLICATE)]
    return FaultPlan(
        listen=np.concatenate([np.arange(listens), repeated, conflicted])[order],
        kind=np.concatenate([kind, *repeats])[order],
    )


def delay_late(seed: int, plan: FaultPlan, listen_time: Ints) -> Ints:
    """Return the listen times with late listens moved back, minutes to days, so that they arrive after newer ones."""
    rng = np.random.default_rng([seed, 5])
    late = plan.listen[plan.kind == Kind.LATE]
    seconds = np.exp(rng.uniform(np.log(SHORTEST_DELAY_S), np.log(LONGEST_DELAY_S), len(late)))
    moved = listen_time.copy()
    moved[late] -= (seconds * 1_000).astype(np.int64) * (MICROS // 1_000)
    return moved
