"""Columns to bytes: the plain wording of a listen is put together from pieces that are made once.

A payload is one join of a few byte strings. Those of fixed width (id, time, session) are made for many records at once
as a matrix of characters; the others (user, track, played time) stand in tables. What is not plain is made from the
plain bytes, record by record.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from producers.faults import Kind, is_malformed, pick_way
from producers.malformed import JSON
from producers.sessions import PLATFORMS
from producers.shape import MS_PER_DAY, MS_PER_MINUTE
from producers.wording import Wording, rephrase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from producers.shape import Ints

SCHEMA_VERSION: Final = 1
ID_BEGIN: Final = b'{"event_id":"'
ID_END: Final = b'","user_id":'
TIME_END: Final = b'Z","schema_version":%d,"played_ms":' % SCHEMA_VERSION
NO_ID: Final = len(ID_BEGIN) + 36 + len(b'",')
OFFSETS: Final = (b"+02:00", b"-05:00", b"+05:30", b"+14:00")
OFFSETS_MS: Final = np.array([120, -300, 330, 840]) * MS_PER_MINUTE
EXTRA_FIELDS: Final = b',"device_model":"model-7","queue":{"position":%d,"shuffled":true}}'
GROUPS: Final = ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))
"""Which digits of a UUID stand together."""
HEX: Final = np.array([b"%04x" % number for number in range(65_536)])
DECIMAL: Final = np.array([b"%04d" % number for number in range(10_000)])
CLOCK: Final = np.array([b"%02d:%02d:%02d" % (s // 3_600, s // 60 % 60, s % 60) for s in range(86_400)])
FRACTION: Final = np.array([b".%03d" % number for number in range(1_000)])


@dataclass(frozen=True, kw_only=True)
class Records:
    """One entry per record in every column, in the order in which they are sent.

    Attributes:
        kind: A `Kind`.
        way: Which of the ways to be of that kind.
        user: Index of the user.
        track: Index of the track.
        time: `listen_time`, milliseconds since the epoch.
        played_ms: How long it played.
        session: Number of the session; unique together with the user.
        platform: Index into `PLATFORMS`.
        wording: A `Wording`.
        random: 64 random bits for the event id.
    """

    kind: Ints
    way: Ints
    user: Ints
    track: Ints
    time: Ints
    played_ms: Ints
    session: Ints
    platform: Ints
    wording: Ints
    random: NDArray[np.uint64]

    def __len__(self) -> int:
        """Number of records."""
        return len(self.kind)

    def take(self, rows: Ints) -> Records:
        """Return some of the records."""
        return Records(**{column.name: getattr(self, column.name)[rows] for column in fields(self)})


class Encoder:
    """Encodes the records of a fixed set of users and tracks."""

    def __init__(self, user_ids: Sequence[int], track_ids: Sequence[str], longest_ms: int) -> None:
        """Make the pieces.

        Args:
            user_ids: Id of each user by index.
            track_ids: Id of each track by index.
            longest_ms: The most that `played_ms` may be.
        """
        self._users = _pieces(b'%d,"track_id":' % user for user in user_ids)
        self._tracks = _pieces(b'%b,"listen_time":"' % JSON.encode(track).encode() for track in track_ids)
        self._seconds = _pieces(b"%d" % second if second else b"" for second in range(longest_ms // 1_000 + 1))
        # The last three digits of the played time, without leading zeros where nothing is before them.
        thousandths = [*(b"%d" % rest for rest in range(1_000)), *(b"%03d" % rest for rest in range(1_000))]
        platforms = [b',"platform":"%b","session_id":"' % platform.encode() for platform in PLATFORMS]
        self._platforms = _pieces(rest + platform for rest in thousandths for platform in platforms)
        self._sessions = _pieces(b"%d-" % user for user in user_ids)

    def encode(self, records: Records) -> list[bytes]:
        """Return the payload of each record."""
        seconds, rest = np.divmod(records.played_ms, 1_000)
        rest += np.where(seconds > 0, 1_000, 0)
        broken = is_malformed(records.kind)
        wording = np.where(broken, Wording.PLAIN, records.wording)
        zone = records.played_ms % len(OFFSETS)
        ids = _write_ids(records)
        times = _write_times(records.time + np.where(wording == Wording.OFFSET_TIME, OFFSETS_MS[zone], 0))
        sessions = _write_sessions(records.session)
        for place in _places(wording == Wording.SPACE_TIME):
            times[place] = times[place][:10] + b" " + times[place][11:19] + times[place][24:]
        for place in _places(wording == Wording.OFFSET_TIME):
            times[place] = times[place][:23] + OFFSETS[zone[place]] + times[place][24:]
        for place in _places(wording == Wording.NO_EVENT_ID):
            ids[place] = b"{" + ids[place][NO_ID:]
        for place in _places(wording == Wording.EXTRA_FIELDS):
            sessions[place] = sessions[place][:-1] + EXTRA_FIELDS % (records.session[place] % 50)
        pieces = (
            ids,
            self._users[records.user].tolist(),
            self._tracks[records.track].tolist(),
            times,
            self._seconds[seconds].tolist(),
            self._platforms[rest * len(PLATFORMS) + records.platform].tolist(),
            self._sessions[records.user].tolist(),
            sessions,
        )
        payloads = list(map(b"".join, zip(*pieces, strict=True)))
        for place in _places(broken):
            way = pick_way(Kind(int(records.kind[place])), int(records.way[place]))
            payloads[place] = way.apply(json.loads(payloads[place]))
        for place in _places(records.kind == Kind.REPHRASED_DUPLICATE):
            payloads[place] = rephrase(json.loads(payloads[place]), int(records.way[place]))
        return payloads


def build_event_ids(records: Records) -> NDArray[np.uint8]:
    """Return the characters of a UUIDv7 (RFC 9562) per record: its millisecond, then 74 seeded bits, 64 of them random.

    The ten others are taken from the random ones: they only fill up.
    """
    words = np.empty((len(records), 8), dtype=np.uint16)
    time, random = records.time.astype(np.uint64), records.random
    words[:, 0], words[:, 1], words[:, 2] = time >> 32, time >> 16, time
    words[:, 3] = 0x7000 | (random >> 20) & 0xFFF
    words[:, 4] = 0x8000 | (random >> 48) & 0x3FFF
    words[:, 5], words[:, 6], words[:, 7] = random >> 32, random >> 16, random
    digits = HEX[words].view(np.uint8).reshape(-1, 32)
    text = np.full((len(records), 36), ord("-"), dtype=np.uint8)
    for dashes, (begin, end) in enumerate(GROUPS):
        text[:, begin + dashes : end + dashes] = digits[:, begin:end]
    return text


def _places(chosen: NDArray[np.bool_]) -> list[int]:
    return np.flatnonzero(chosen).tolist()


def _write_ids(records: Records) -> list[bytes]:
    text = np.empty((len(records), len(ID_BEGIN) + 36 + len(ID_END)), dtype=np.uint8)
    text[:, : len(ID_BEGIN)] = np.frombuffer(ID_BEGIN, dtype=np.uint8)
    text[:, len(ID_BEGIN) : -len(ID_END)] = build_event_ids(records)
    text[:, -len(ID_END) :] = np.frombuffer(ID_END, dtype=np.uint8)
    return text.view(f"S{text.shape[1]}").ravel().tolist()


def _write_times(time: Ints) -> list[bytes]:
    day, ms = np.divmod(time, MS_PER_DAY)
    first = day.min()
    days = np.arange(first, day.max() + 1).astype("datetime64[D]")
    second, fraction = np.divmod(ms, 1_000)
    return _join_fixed(days.astype("S10")[day - first], b"T", CLOCK[second], FRACTION[fraction], TIME_END)


def _write_sessions(session: Ints) -> list[bytes]:
    upper, lower = np.divmod(session, 10_000)
    return _join_fixed(DECIMAL[upper], DECIMAL[lower], b'"}')


def _join_fixed(*columns: NDArray[np.bytes_] | bytes) -> list[bytes]:
    """Join columns of one width each; none of their texts is shorter than its column is wide."""
    widths = [len(column) if isinstance(column, bytes) else column.itemsize for column in columns]
    text = np.empty(
        max(len(column) for column in columns if not isinstance(column, bytes)), ",".join(f"S{w}" for w in widths)
    )
    for name, column in zip(text.dtype.names or (), columns, strict=True):
        text[name] = column
    return text.view(f"S{sum(widths)}").tolist()


def _pieces(texts: Any) -> NDArray[np.object_]:
    made = list(texts)
    pieces = np.empty(len(made), dtype=object)
    pieces[:] = made
    return pieces
