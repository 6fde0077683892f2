"""The synthetic stream: listens, worded and spoiled by plan, encoded chunk by chunk.

Same seed, settings and catalog, same bytes, however many lanes and processes share them: every process draws the
columns of all records, and encodes those of its lanes. Facts come from the columns and never from reading bytes back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from lakehouse.events import derive_event_id
from producers.catalog import build_track_id
from producers.encoding import Encoder, Records, build_event_ids
from producers.errors import ProducerError
from producers.faults import (
    OUTCOMES,
    FaultRates,
    Kind,
    count_repeats,
    draw_delays_ms,
    is_malformed,
    number_outcomes,
    plan_faults,
)
from producers.listens import ListenSettings, draw_listens
from producers.records import FACTS, Chunk, Lanes, lane_of
from producers.shape import ListenShape
from producers.wording import Wording

if TYPE_CHECKING:
    from collections.abc import Iterator

    from producers.catalog import Catalog
    from producers.sessions import Listens
    from producers.shape import Ints

CHUNK: Final = 2_000
"""Most records encoded at a time: few enough for the processor's cache."""
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
KINDS: Final = pa.array([name for name, _ in OUTCOMES], pa.string())
EXPECTATIONS: Final = pa.array([expected for _, expected in OUTCOMES], pa.string())
UNKNOWN: Final = 1_000
"""Numbers of users and of tracks that are in no dimension file."""


@dataclass(frozen=True, kw_only=True)
class SyntheticSettings:
    """What is made.

    Attributes:
        seed: Seed of listens, faults and payloads.
        events: Number of records, faults and repeats included.
        start: First UTC listen date; late listens may lie up to three days before.
        dates: Number of listen dates; sessions begin within them, the last ones may run on for hours.
        rates: Share of each kind of fault.
        shape: How people listen.
        start_s: Seconds after the midnight that begins `start` at which the first session begins.
        span_s: Seconds within which sessions begin; the whole `dates` where there is none.
    """

    seed: int
    events: int
    start: date
    dates: int = 3
    rates: FaultRates = field(default_factory=FaultRates)
    shape: ListenShape = field(default_factory=ListenShape)
    start_s: float = 0.0
    span_s: float | None = None

    @property
    def begin(self) -> datetime:
        """When the first sessions begin."""
        return datetime(self.start.year, self.start.month, self.start.day, tzinfo=UTC) + timedelta(seconds=self.start_s)

    @property
    def end(self) -> datetime:
        """When the last sessions begin; their listens end within a day of it."""
        return self.begin + timedelta(seconds=self.dates * 86_400.0 if self.span_s is None else self.span_s)


class SyntheticStream:
    """A seeded stream of listens over one catalog."""

    def __init__(self, catalog: Catalog, settings: SyntheticSettings) -> None:
        """Prepare the tables and try the first block.

        Raises:
            ProducerError: So few users can't hear so much, or the rates leave nothing to repeat.
        """
        rng = np.random.default_rng([settings.seed, 6])
        users, tracks = catalog.user_ids, catalog.track_ids
        if len(tracks) < 2:
            raise ProducerError(expected="two tracks or more", found=f"{len(tracks)}", do="Name a larger catalog.")
        durations = catalog.durations_ms
        self._settings = settings
        self._tracks = len(tracks)
        self._users = len(users)
        self._user_ids = np.array([*users, *range(max(users) + 1, max(users) + 1 + UNKNOWN)], dtype=np.int64)
        self._track_ids = np.array([*tracks, *_build_unknown_tracks(rng, set(tracks))], dtype=object)
        self._keys = np.array([str(user) for user in self._user_ids.tolist()], dtype=object)
        self._encoder = Encoder(self._user_ids.tolist(), self._track_ids.tolist(), max(durations))
        self._counts = settings.rates.count(settings.events)
        self._listens = ListenSettings(
            seed=settings.seed,
            count=settings.events - count_repeats(self._counts),
            users=len(users),
            durations_ms=durations,
            begin_ms=int(settings.begin.timestamp() * 1_000),
            end_ms=int(settings.end.timestamp() * 1_000),
            shape=settings.shape,
        )
        next(self._blocks())

    def __len__(self) -> int:
        """Number of records."""
        return self._settings.events

    def chunks(self, lanes: Lanes) -> Iterator[Chunk]:
        """Yield the records of the asked lanes, at most `CHUNK` at a time."""
        lane_of_user = np.array([lane_of(key, lanes.total) for key in self._keys])
        first = 0
        for block in self._blocks():
            for begin in range(0, len(block), CHUNK * lanes.total):
                lane = lane_of_user[block.user[begin : begin + CHUNK * lanes.total]]
                for mine in sorted(lanes.mine):
                    rows = begin + np.flatnonzero(lane == mine)
                    for part in range(0, len(rows), CHUNK):
                        yield self._encode(mine, first, block, rows[part : part + CHUNK])
            first += len(block)

    def facts(self) -> pa.Table:
        """Return one row per record."""
        return pa.Table.from_batches(self.fact_batches(), schema=FACTS)

    def fact_batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows of `facts` block by block."""
        for block in self._blocks():
            yield self._state_facts(block)

    def _encode(self, lane: int, first: int, block: Records, rows: Ints) -> Chunk:
        keys: list[str] = self._keys[block.user[rows]].tolist()
        return Chunk(lane, (first + rows).tolist(), self._encoder.encode(block.take(rows)), keys)

    def _blocks(self) -> Iterator[Records]:
        done = 0
        for number, listens in enumerate(draw_listens(self._listens)):
            rng = np.random.default_rng([self._settings.seed, 4, number])
            yield self._spoil(rng, listens, done)
            done += len(listens)

    def _spoil(self, rng: np.random.Generator, listens: Listens, done: int) -> Records:
        """Word the listens of a block, plan its faults and apply those that show in the columns."""
        count = len(listens)
        others = len(Wording) - 1
        wording = 1 + (rng.random(count) * others / max(self._settings.shape.other_wordings, 1e-12)).astype(np.int64)
        wording[wording > others] = Wording.PLAIN
        before = {kind: total * done // self._listens.count for kind, total in self._counts.items()}
        after = {kind: total * (done + count) // self._listens.count for kind, total in self._counts.items()}
        plan = plan_faults(rng, before, after, wording)
        time = listens["time"].copy()
        late = plan.listen[plan.kind == Kind.LATE]
        time[late] -= draw_delays_ms(rng, len(late))
        time -= np.where(wording == Wording.SPACE_TIME, time % 1_000, 0)
        user, track = listens["user"][plan.listen], listens["track"][plan.listen]
        unknown = np.flatnonzero(plan.kind == Kind.UNKNOWN_USER)
        user[unknown] = self._users + rng.integers(0, UNKNOWN, len(unknown))
        unknown = np.flatnonzero(plan.kind == Kind.UNKNOWN_TRACK)
        track[unknown] = self._tracks + rng.integers(0, UNKNOWN, len(unknown))
        conflicts = plan.kind == Kind.CONFLICTING_DUPLICATE
        track[conflicts] = (track[conflicts] + 1) % self._tracks
        return Records(
            kind=plan.kind,
            way=plan.way,
            user=user,
            track=track,
            time=time[plan.listen],
            played_ms=listens["played_ms"][plan.listen],
            session=listens["session"][plan.listen],
            platform=listens["platform"][plan.listen],
            wording=wording[plan.listen],
            random=rng.integers(0, 2**64, count, dtype=np.uint64)[plan.listen],
        )

    def _state_facts(self, block: Records) -> pa.RecordBatch:
        event_ids = build_event_ids(block).view("S36").ravel().astype(object)
        track_ids = self._track_ids[block.track]
        user_ids = self._user_ids[block.user]
        for place in np.flatnonzero(block.wording == Wording.NO_EVENT_ID).tolist():
            # Who sends no id gets the one that everybody derives for the listen.
            moment = EPOCH + timedelta(milliseconds=int(block.time[place]))
            event_ids[place] = derive_event_id(int(user_ids[place]), track_ids[place], moment).encode()
        broken = is_malformed(block.kind)
        outcomes = pa.array(number_outcomes(block.kind, block.way))
        return pa.record_batch(
            [
                KINDS.take(outcomes),
                EXPECTATIONS.take(outcomes),
                pa.array(event_ids, pa.binary(), mask=broken).cast(pa.string()),
                pa.array(user_ids, mask=broken),
                pa.array(track_ids, pa.string(), mask=broken),
                pa.array(block.time * 1_000, mask=broken),
            ],
            schema=FACTS,
        )


def _build_unknown_tracks(rng: np.random.Generator, known: set[str]) -> list[str]:
    made: dict[str, None] = {}
    while len(made) < UNKNOWN:
        made |= dict.fromkeys({build_track_id(rng)} - known)
    return list(made)
