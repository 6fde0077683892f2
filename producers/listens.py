"""Synthetic listens as columns: who heard what when. Seeded, vectorised, in order of `listen_time`.

Users are active log-normally, tracks are popular by Zipf's law, hours of the day follow a daily cycle. A few listens
are worded in the other ways that the contract allows (`Wording`): they are no faults and must count like the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

MICROS_PER_SECOND: Final = 1_000_000
MICROS_PER_HOUR: Final = 3_600 * MICROS_PER_SECOND
MICROS_PER_DAY: Final = 24 * MICROS_PER_HOUR
ZIPF_EXPONENT: Final = 0.8
ACTIVITY_SIGMA: Final = 1.2
"""Sigma of the log-normal activity: the busiest 5 % of users make about a third of the listens."""
HOURLY_SHAPE: Final = (4, 3, 2, 2, 3, 4, 6, 9, 12, 14, 13, 11, 11, 11, 11, 11, 12, 13, 15, 15, 13, 11, 8, 6)
PLATFORMS: Final = ("android", "ios", "web", "desktop", "tv")
WORDING_SHARE: Final = 0.02
HEX_DIGITS: Final = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
UUID_DASHES: Final = (8, 13, 18, 23)


class Wording(IntEnum):
    """How an event says what it says; all of them are within the contract."""

    PLAIN = 0
    SPACE_TIME = 1
    OFFSET_TIME = 2
    NO_EVENT_ID = 3
    EXTRA_FIELDS = 4


@dataclass(frozen=True, kw_only=True)
class Listens:
    """One entry per listen in every column, in the order in which they are sent.

    Attributes:
        user: Index of the user.
        track: Index of the track.
        listen_time: Microseconds since the epoch, UTC.
        played_ms: How long it played, milliseconds.
        platform: Index into `PLATFORMS`.
        session: Number of the session; unique together with the user.
        wording: A `Wording`.
    """

    user: Ints
    track: Ints
    listen_time: Ints
    played_ms: Ints
    platform: Ints
    session: Ints
    wording: Ints

    def __len__(self) -> int:
        """Number of listens."""
        return len(self.user)

    def with_listen_time(self, listen_time: Ints) -> Listens:
        """Return the same listens at other times; space-separated ones have whole seconds."""
        whole = listen_time - listen_time % MICROS_PER_SECOND
        return replace(self, listen_time=np.where(self.wording == Wording.SPACE_TIME, whole, listen_time))


def build_listens(seed: int, count: int, *, users: int, tracks: int, start: date, dates: int) -> Listens:
    """Make the listens of this seed, in order of `listen_time`.

    Args:
        seed: Same seed and arguments, same listens.
        count: Number of listens.
        users: Number of users to draw from.
        tracks: Number of tracks to draw from.
        start: First UTC date.
        dates: Number of dates.
    """
    rng = np.random.default_rng([seed, 2])
    listen_time = _draw_listen_times(rng, count, start, dates)
    user = _draw(rng, rng.lognormal(0.0, ACTIVITY_SIGMA, users), count)
    popularity = np.arange(1, tracks + 1, dtype=np.float64) ** -ZIPF_EXPONENT
    wordings = len(Wording) - 1
    wording = np.floor(rng.random(count) / WORDING_SHARE).astype(np.int64) + 1
    listens = Listens(
        user=user,
        track=_draw(rng, rng.permutation(popularity), count),
        listen_time=listen_time,
        played_ms=rng.integers(0, 300_000, count),
        platform=rng.integers(0, len(PLATFORMS), count),
        session=listen_time // MICROS_PER_HOUR,
        wording=np.where(wording <= wordings, wording, Wording.PLAIN),
    )
    return listens.with_listen_time(listen_time)


def build_event_ids(seed: int, listen_time: Ints) -> list[str]:
    """Return a UUIDv7 (RFC 9562) per listen: its millisecond, then 74 seeded random bits."""
    rng = np.random.default_rng([seed, 3])
    octets = rng.integers(0, 256, (len(listen_time), 16), dtype=np.uint8)
    milliseconds = (listen_time // 1_000).astype(">u8")
    octets[:, :6] = milliseconds.view(np.uint8).reshape(-1, 8)[:, 2:]
    octets[:, 6] = 0x70 | octets[:, 6] & 0x0F
    octets[:, 8] = 0x80 | octets[:, 8] & 0x3F
    digits = np.empty((len(octets), 32), dtype=np.uint8)
    digits[:, 0::2] = HEX_DIGITS[octets >> 4]
    digits[:, 1::2] = HEX_DIGITS[octets & 0x0F]
    text = np.full((len(octets), 36), ord("-"), dtype=np.uint8)
    text[:, [place for place in range(36) if place not in UUID_DASHES]] = digits
    return text.view("S36").reshape(-1).astype("U36").tolist()


def _draw(rng: np.random.Generator, weights: NDArray[np.float64], count: int) -> Ints:
    cumulative = np.cumsum(weights)
    drawn: Ints = np.searchsorted(cumulative, rng.random(count) * cumulative[-1], side="right")
    return np.minimum(drawn, len(weights) - 1)


def _draw_listen_times(rng: np.random.Generator, count: int, start: date, dates: int) -> Ints:
    midnight = int(datetime(start.year, start.month, start.day, tzinfo=UTC).timestamp()) * MICROS_PER_SECOND
    hour = _draw(rng, np.array(HOURLY_SHAPE, dtype=np.float64), count)
    millisecond = rng.integers(0, MICROS_PER_HOUR // 1_000, count)
    day = rng.integers(0, dates, count)
    listen_time: Ints = np.sort(midnight + day * MICROS_PER_DAY + hour * MICROS_PER_HOUR + millisecond * 1_000)
    return listen_time
