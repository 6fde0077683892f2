"""Synthetic listens in order of their time, in blocks: memory does not grow with their number.

The sessions of a block begin in its share of the daily cycle. Listens beyond the end of that share wait for the next
block, so that blocks come out sorted through and through.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from producers.errors import ProducerError
from producers.sessions import LISTEN, Listeners, Listens
from producers.shape import MS_PER_DAY, DailyCycle, ListenShape, build_activity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from producers.shape import Floats, Ints

BLOCK: Final = 32_768
"""Listens in a block; the last one holds up to twice as many."""


@dataclass(frozen=True, kw_only=True)
class ListenSettings:
    """Which listens.

    Attributes:
        seed: Seed of all that is drawn.
        count: Number of listens.
        users: Number of users.
        durations_ms: Duration of each track.
        begin_ms: When the first sessions begin, milliseconds since the epoch.
        end_ms: When the last sessions begin.
        shape: How people listen.
    """

    seed: int
    count: int
    users: int
    durations_ms: Sequence[int]
    begin_ms: int
    end_ms: int
    shape: ListenShape


def draw_listens(settings: ListenSettings) -> Iterator[Listens]:
    """Yield the listens, in order of time through all blocks.

    Raises:
        ProducerError: So few users can't hear so much in that time.
    """
    shape, count, seed = settings.shape, settings.count, settings.seed
    listeners = Listeners(shape, _draw_activity(settings), settings.durations_ms, seed)
    cycle = DailyCycle(shape, settings.begin_ms, settings.end_ms)
    blocks = max(1, count // BLOCK)
    waiting: Listens = np.empty(0, dtype=LISTEN)
    out = 0
    for block in range(blocks):
        last = block == blocks - 1
        size = count - block * BLOCK if last else BLOCK
        share = np.array([block * BLOCK, block * BLOCK + size]) / count
        rng = np.random.default_rng([seed, 2, block])
        lengths = _draw_lengths(rng, size, shape.session_mean)
        begin = cycle.moments(rng.uniform(share[0], share[1], len(lengths)))
        drawn = listeners.listen(rng, begin, listeners.draw_users(rng, len(lengths)), lengths)
        waiting = _sort(np.concatenate([waiting, drawn]))
        until = np.iinfo(np.int64).max if last else cycle.moments(share[1:])[0]
        ready = int(np.searchsorted(waiting["time"], until))
        _check_end(settings, waiting)
        while ready >= BLOCK and out < blocks - 1:
            yield waiting[:BLOCK]
            waiting, ready, out = waiting[BLOCK:], ready - BLOCK, out + 1
    yield waiting


def _draw_activity(settings: ListenSettings) -> Floats:
    shape = settings.shape
    weights = np.random.default_rng([settings.seed, 0]).lognormal(0.0, shape.activity_sigma, settings.users)
    span_s = (settings.end_ms - settings.begin_ms) / 1_000
    at_most = shape.sessions_at_most(span_s, float(np.mean(settings.durations_ms)))
    return build_activity(shape, weights, settings.count / shape.session_mean, at_most)


def _draw_lengths(rng: np.random.Generator, count: int, mean: float) -> Ints:
    """Return geometric lengths of exactly `count` in all: each listen is a session's first with the same chance."""
    is_first = rng.random(count) < 1.0 / mean
    is_first[0] = True
    return np.diff(np.append(np.flatnonzero(is_first), count))


def _sort(listens: Listens) -> Listens:
    """Sort by time; equal times stay in order. Unique keys make that the same on every machine."""
    bits = len(listens).bit_length()
    time = listens["time"]
    keys = ((time - time.min()) << bits) | np.arange(len(listens))
    keys.sort()
    ordered: Listens = listens[keys & ((1 << bits) - 1)]
    return ordered


def _check_end(settings: ListenSettings, listens: Listens) -> None:
    beyond = int(listens["time"][-1]) - settings.end_ms
    if beyond > MS_PER_DAY:
        raise ProducerError(
            expected="listens that end within a day of the last date",
            found=f"{settings.users} users who need {beyond / MS_PER_DAY:.1f} days more for {settings.count} listens",
            do="Name more dates or fewer events, or a new catalog folder: it gets as many users as it takes.",
        )
