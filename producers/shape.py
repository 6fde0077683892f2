"""What synthetic listening looks like, and how much of it a number of users can do.

Activity of users is log-normal up to what a person can hear; the hours of the day follow a weekday's or a weekend
day's cycle. All of it is settable; the defaults are those of the project's domain page.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Final

import numpy as np
from numpy.typing import NDArray

from producers.errors import ProducerError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MS_PER_MINUTE: Final = 60_000
MS_PER_HOUR: Final = 3_600_000
MS_PER_DAY: Final = 86_400_000
USUAL_DURATION_MS: Final = 210_000
"""Duration taken for a song that has none."""
BUSIEST_OVER_MEAN: Final = 5.0
"""How far `users_for` lets the busiest users stand out: then a few per cent of them make tens of per cent."""
WEEKDAY: Final = (4, 3, 2, 2, 3, 4, 6, 9, 12, 14, 14, 11, 11, 11, 11, 11, 12, 13, 15, 15, 13, 11, 8, 6)
WEEKEND: Final = (6, 4, 2, 2, 2.5, 3, 4, 5, 6.5, 8, 9, 10, 10.5, 11, 11, 11.5, 12, 13, 15, 15, 13, 12, 10, 8)


@dataclass(frozen=True, kw_only=True)
class ListenShape:
    """How people listen.

    Attributes:
        weekday: Relative number of sessions that begin in each hour (UTC) from Monday to Friday.
        weekend: The same for Saturday and Sunday.
        session_mean: Mean number of listens in a session; the number is geometric.
        session_gap_s: Least time between two sessions of a user; a minute or more.
        activity_sigma: Sigma of the log-normal activity of users; 0 makes all equally active.
        busiest_share: Share of the time that the most active user may spend in sessions and the gaps after them.
        repetition: Probability that a listen repeats one of the user's recent tracks.
        memory: How many tracks of a user are recent.
        zipf: Exponent of the popularity of the tracks that are no repetition.
        skips: (milliseconds, share of the listens that end within them), both ascending.
        skipped: Share of the listens that end before the song does.
        pause_ms: Longest pause between two listens of a session.
        other_wordings: Share of the listens that are worded in one of the other ways of `Wording`.
    """

    weekday: tuple[float, ...] = WEEKDAY
    weekend: tuple[float, ...] = WEEKEND
    session_mean: float = 11.0
    session_gap_s: float = 1_800.0
    activity_sigma: float = 1.2
    busiest_share: float = 0.4
    repetition: float = 0.65
    memory: int = 32
    zipf: float = 0.8
    skips: tuple[tuple[float, float], ...] = ((5_000, 0.25), (30_000, 0.35))
    skipped: float = 0.5
    pause_ms: int = 2_000
    other_wordings: float = 0.02

    def __post_init__(self) -> None:
        """Refuse what can't be drawn from."""
        hours = len(self.weekday) == len(self.weekend) == 24 and min(*self.weekday, *self.weekend) > 0
        shares = [0.0, *(share for _, share in self.skips), self.skipped, 1.0]
        probabilities = (*shares, self.repetition, self.other_wordings, self.busiest_share)
        ascending = shares == sorted(shares) and list(self.skips) == sorted(self.skips)
        sizes = self.session_mean >= 1 and self.session_gap_s >= 60 and self.memory >= 1 and self.pause_ms >= 1
        signs = self.activity_sigma >= 0 and self.zipf >= 0 and self.busiest_share > 0
        if not (hours and ascending and sizes and signs and all(0 <= share <= 1 for share in probabilities)):
            raise ProducerError(
                expected="24 hours above 0, shares from 0 to 1 that ascend, a mean of 1 or more, a gap of 60 s or more",
                found=str(self),
                do="Correct the settings of the listens' shape.",
            )

    def played_ms(self, chance: Floats, duration_ms: Ints) -> Ints:
        """Return how long listens play: `chance` is uniform from 0 to 1, the song's duration is the most."""
        knots, shares = zip((0.0, 0.0), *self.skips, strict=True)
        begun = np.interp(chance, shares, knots)
        rest = np.clip((chance - shares[-1]) / max(self.skipped - shares[-1], 1e-12), 0.0, 1.0)
        played: Floats = np.minimum(begun + rest * np.maximum(duration_ms - knots[-1], 0), duration_ms)
        return played.astype(np.int64)

    def sessions_at_most(self, span_s: float, duration_ms: float = USUAL_DURATION_MS) -> float:
        """Return how many sessions the most active user is expected to begin within `span_s` seconds."""
        chances = (np.arange(1_000) + 0.5) / 1_000
        played = self.played_ms(chances, np.full(1_000, int(duration_ms))).mean()
        session_s = self.session_mean * (float(played) + self.pause_ms / 2) / 1_000 + self.session_gap_s
        return self.busiest_share * (span_s + session_s) / session_s


def users_for(events: int, dates: float, shape: ListenShape | None = None) -> int:
    """Return how many users make `events` listens in `dates` days without the busiest ones being held back much."""
    asked = shape or ListenShape()
    at_most = asked.session_mean * asked.sessions_at_most(dates * 86_400)
    return max(1, ceil(BUSIEST_OVER_MEAN * events / at_most))


def build_activity(shape: ListenShape, weights: Floats, sessions: float, at_most: float) -> Floats:
    """Return the expected number of sessions of each user: `sessions` in all, by weight, none above `at_most`.

    Raises:
        ProducerError: So few users can't begin so many sessions.
    """
    users = len(weights)
    if sessions > users * at_most:
        raise ProducerError(
            expected=f"at most {users * at_most * shape.session_mean:,.0f} listens from {users} users in this time",
            found=f"{sessions * shape.session_mean:,.0f}",
            do="Name more dates or fewer events, or a new catalog folder: it gets as many users as it takes.",
        )
    ascending = np.sort(weights)
    held = np.arange(users, 0, -1) - 1
    """Users held at the most when those up to this weight are not."""
    scales = (sessions - held * at_most) / np.cumsum(ascending)
    fits = np.flatnonzero((scales * ascending <= at_most) & (scales >= 0))
    return np.minimum(weights * (scales[fits[-1]] if len(fits) else np.inf), at_most)


class DailyCycle:
    """When sessions begin between two moments."""

    def __init__(self, shape: ListenShape, begin_ms: int, end_ms: int) -> None:
        """Sum up the hours; both moments are milliseconds since the epoch."""
        hours = np.arange(begin_ms // MS_PER_HOUR + 1, -(-end_ms // MS_PER_HOUR), dtype=np.int64) * MS_PER_HOUR
        self._moments = np.concatenate([[begin_ms], hours, [end_ms]]).astype(np.int64)
        self.begins: Ints = self._moments[:-1]
        """Where the rate may change, milliseconds since the epoch."""
        weekend = (self.begins // MS_PER_DAY + 3) % 7 >= 5  # The epoch was a Thursday.
        day = np.where(weekend, 1, 0), self.begins % MS_PER_DAY // MS_PER_HOUR
        self.rates: Floats = np.array([shape.weekday, shape.weekend], dtype=np.float64)[day]
        """Relative rate from each of these moments on."""
        begun = np.cumsum(self.rates * np.diff(self._moments))
        self._shares = np.concatenate([[0.0], begun / begun[-1]])

    def moments(self, shares: Floats) -> Ints:
        """Return the millisecond until which each share of all sessions has begun."""
        return np.interp(shares, self._shares, self._moments).astype(np.int64)
