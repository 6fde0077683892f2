"""Sessions of listening as columns: who hears what from when to when. Vectorised over a block of sessions.

What goes from block to block is held per user: until when a user is busy, and the tracks heard last. Within a block
sessions lie sorted by user and time, so that all listens of a user stand together in the order in which they happen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from producers.shape import MS_PER_MINUTE, Floats, Ints, ListenShape

if TYPE_CHECKING:
    from collections.abc import Sequence

LISTEN: Final = np.dtype(
    [("time", "i8"), ("user", "i4"), ("track", "i4"), ("played_ms", "i4"), ("session", "i4"), ("platform", "i4")]
)
"""A listen: milliseconds since the epoch, indexes of user and track, the minute in which its session began, index into
`PLATFORMS`. A user begins at most one session a minute."""
PLATFORMS: Final = ("android", "ios", "web", "desktop", "tv")

Listens = NDArray[np.void]


class Listeners:
    """The users, and what they remember of the sessions drawn so far."""

    def __init__(self, shape: ListenShape, activity: Floats, durations_ms: Sequence[int], seed: int) -> None:
        """Nobody has heard anything yet.

        Args:
            shape: How people listen.
            activity: Expected sessions of each user.
            durations_ms: Duration of each track.
            seed: Seed of which tracks are popular.
        """
        tracks, users = len(durations_ms), len(activity)
        self._shape = shape
        self._activity = np.cumsum(activity)
        self._popularity = np.cumsum(np.arange(1, tracks + 1, dtype=np.float64) ** -shape.zipf)
        self._track_by_rank = np.random.default_rng([seed, 1]).permutation(tracks)
        self._duration_ms = np.array(durations_ms, dtype=np.int64)
        self._free_from = np.full(users, np.iinfo(np.int64).min)
        self._recent = np.zeros((users, shape.memory), dtype=np.int32)
        self._heard = np.zeros(users, dtype=np.int64)

    def draw_users(self, rng: np.random.Generator, count: int) -> Ints:
        """Return the users of `count` sessions: Poisson arrivals for each of them, given their number in all."""
        return _draw(rng, self._activity, count)

    def listen(self, rng: np.random.Generator, begin: Ints, user: Ints, lengths: Ints) -> Listens:
        """Return the listens of these sessions, by user.

        A session that would begin while its user is busy begins as soon as the gap after the last one is over.

        Args:
            rng: Source of tracks, skips and pauses.
            begin: When sessions begin, none before those of an earlier call.
            user: Their users.
            lengths: Numbers of listens.
        """
        order = np.lexsort((begin, user))
        begin, user = begin[order], user[order]
        count = int(lengths.sum())
        first = np.cumsum(lengths) - lengths
        listens = np.empty(count, dtype=LISTEN)
        listener = np.repeat(user, lengths)
        track = self._choose_tracks(rng, listener)
        played = self._shape.played_ms(rng.random(count), self._duration_ms[track])
        spent = played + rng.integers(1, self._shape.pause_ms + 1, count)
        offset = np.cumsum(spent) - spent
        begin = self._postpone(begin, user, np.add.reduceat(spent, first))
        listens["time"] = offset + np.repeat(begin - offset[first], lengths)
        listens["user"], listens["track"], listens["played_ms"] = listener, track, played
        listens["session"] = np.repeat(begin // MS_PER_MINUTE, lengths)
        listens["platform"] = np.repeat(rng.integers(0, len(PLATFORMS), len(user)), lengths)
        return listens

    def _choose_tracks(self, rng: np.random.Generator, listener: Ints) -> Ints:
        memory = self._shape.memory
        count, runs, rank = len(listener), *_rank_in_runs(listener)
        heard = self._heard[listener] + rank
        known = np.minimum(heard, memory)
        chance = rng.random(count)
        again = (chance < self._shape.repetition) & (known > 0)
        back = 1 + (rng.random(count) * known).astype(np.int64)
        fresh = np.flatnonzero(~again)
        track = np.empty(count, dtype=np.int64)
        track[fresh] = self._track_by_rank[_draw(rng, self._popularity, len(fresh))]
        before = np.flatnonzero(again & (back > rank))
        track[before] = self._recent[listener[before], (heard[before] - back[before]) % memory]
        # A repetition of a repetition leads back, by steps that double, to where the track came in.
        source = np.arange(count)
        source -= np.where(again & (back <= rank), back, 0)
        while not np.array_equal(source, further := source[source]):
            source = further
        track = track[source]
        sizes = np.diff(np.append(runs, count))
        last = np.flatnonzero(rank >= np.repeat(sizes, sizes) - memory)
        self._recent[listener[last], heard[last] % memory] = track[last]
        self._heard[listener[runs]] += sizes
        return track

    def _postpone(self, begin: Ints, user: Ints, spent: Ints) -> Ints:
        """Return when sessions begin at the earliest, given that each keeps its user busy for the time it takes."""
        taken = spent + int(self._shape.session_gap_s * 1_000)
        runs, _ = _rank_in_runs(user)
        sizes = np.diff(np.append(runs, len(user)))
        before = np.cumsum(taken) - taken
        before -= np.repeat(before[runs], sizes)
        earliest = begin - before
        earliest[runs] = np.maximum(begin[runs], self._free_from[user[runs]])
        # One running maximum serves all users, because each stands above the one before.
        lowest = earliest.min()
        floor = np.repeat(np.arange(len(runs)), sizes) * (earliest.max() - lowest + 1)
        postponed: Ints = np.maximum.accumulate(earliest - lowest + floor) - floor + lowest + before
        last = runs + sizes - 1
        self._free_from[user[last]] = postponed[last] + taken[last]
        return postponed


def _draw(rng: np.random.Generator, cumulative: Floats, count: int) -> Ints:
    drawn: Ints = np.searchsorted(cumulative, rng.random(count) * cumulative[-1], side="right")
    return np.minimum(drawn, len(cumulative) - 1)


def _rank_in_runs(values: NDArray[Any]) -> tuple[Ints, Ints]:
    """Return where each run of equal values begins, and each value's place in its run."""
    changes = np.flatnonzero(values[1:] != values[:-1]) + 1
    runs = np.concatenate([[0], changes])
    sizes = np.diff(np.append(runs, len(values)))
    return runs, np.arange(len(values)) - np.repeat(runs, sizes)
