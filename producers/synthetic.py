"""The synthetic stream: listens, worded and spoiled by plan, encoded chunk by chunk.

Same seed, settings and catalog, same bytes. Facts come from the plan and never from reading the bytes back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from lakehouse.events import derive_event_id
from producers.catalog import build_track_id
from producers.faults import EXPECTED, FaultRates, Kind, count_listens, delay_late, plan_faults
from producers.listens import PLATFORMS, Ints, Listens, Wording, build_event_ids, build_listens
from producers.malformed import JSON, MALFORMATIONS, Event, Malformation, encode
from producers.records import FACTS, Record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from producers.catalog import Catalog

CHUNK: Final = 10_000
"""Records encoded at a time: memory for payloads stays flat."""
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
OFFSETS_MINUTES: Final = (120, -300, 330, 840)
SCHEMA_VERSION: Final = 1


@dataclass(frozen=True, kw_only=True)
class SyntheticSettings:
    """What is made.

    Attributes:
        seed: Seed of listens, faults and payloads.
        events: Number of records, faults and repeats included.
        start: First UTC listen date; late listens may lie up to three days before.
        dates: Number of listen dates.
        rates: Share of each kind of fault.
    """

    seed: int
    events: int
    start: date
    dates: int = 3
    rates: FaultRates = field(default_factory=FaultRates)


class SyntheticStream:
    """A seeded stream of listens over one catalog."""

    def __init__(self, catalog: Catalog, settings: SyntheticSettings) -> None:
        """Draw and plan everything but the bytes."""
        users, tracks = catalog.user_ids, catalog.track_ids
        listens = build_listens(
            settings.seed,
            count_listens(settings.events, settings.rates),
            users=len(users),
            tracks=len(tracks),
            start=settings.start,
            dates=settings.dates,
        )
        plan = plan_faults(settings.seed, settings.events, settings.rates, listens.wording)
        self._listens: Listens = listens.with_listen_time(delay_late(settings.seed, plan, listens.listen_time))
        self._listen, self._kind = plan.listen, plan.kind
        self._way = np.cumsum(plan.kind == Kind.MALFORMED) - 1
        self._event_ids = build_event_ids(settings.seed, self._listens.listen_time)
        self._user_ids, self._track_ids = self._spoil_references(settings.seed, users, tracks)
        self._track_texts = {track: JSON.encode(track) for track in set(self._track_ids)}
        self._complete_event_ids()

    def __len__(self) -> int:
        """Number of records."""
        return len(self._kind)

    def records(self) -> Iterator[Record]:
        """Yield the records in order."""
        for first in range(0, len(self), CHUNK):
            yield from self._encode(first, min(first + CHUNK, len(self)))

    def facts(self) -> pa.Table:
        """Return one row per record."""
        kinds, listens = self._kind.tolist(), self._listen.tolist()
        well_formed = self._kind != Kind.MALFORMED
        ways = self._way.tolist()
        malformed = [kind == Kind.MALFORMED for kind in kinds]
        names = [_way(ways[i]).name if bad else Kind(kinds[i]).name.lower() for i, bad in enumerate(malformed)]
        expected = [_way(ways[i]).reason if bad else EXPECTED[Kind(kinds[i])] for i, bad in enumerate(malformed)]
        columns = [
            pa.array(names),
            pa.array(expected),
            pa.array([None if bad else self._event_ids[n] for n, bad in zip(listens, malformed, strict=True)]),
            pa.array(self._user_ids, mask=~well_formed),
            pa.array([None if bad else track for track, bad in zip(self._track_ids, malformed, strict=True)]),
            pa.array(self._listens.listen_time[self._listen], mask=~well_formed),
        ]
        return pa.table(columns, schema=FACTS)

    def _spoil_references(self, seed: int, users: list[int], tracks: list[str]) -> tuple[Ints, list[str]]:
        """Return user and track id per record: unknown ones, and another track where a record contradicts."""
        rng = np.random.default_rng([seed, 6])
        user_ids = np.array(users, dtype=np.int64)[self._listens.user][self._listen]
        unknown = np.flatnonzero(self._kind == Kind.UNKNOWN_USER)
        user_ids[unknown] = max(users) + 1 + rng.integers(0, 1_000, len(unknown))
        track = self._listens.track[self._listen]
        conflicts = self._kind == Kind.CONFLICTING_DUPLICATE
        track[conflicts] = (track[conflicts] + 1) % len(tracks)
        track_ids = [tracks[number] for number in track.tolist()]
        known = set(tracks)
        for place in np.flatnonzero(self._kind == Kind.UNKNOWN_TRACK).tolist():
            track_ids[place] = next(found for found in iter(lambda: build_track_id(rng), "") if found not in known)
        return user_ids, track_ids

    def _complete_event_ids(self) -> None:
        """Give events without an id the one that everybody derives for them."""
        without = np.flatnonzero(self._listens.wording[self._listen] == Wording.NO_EVENT_ID)
        for place in without.tolist():
            number = int(self._listen[place])
            moment = EPOCH + timedelta(microseconds=int(self._listens.listen_time[number]))
            self._event_ids[number] = derive_event_id(int(self._user_ids[place]), self._track_ids[place], moment)

    def _encode(self, first: int, end: int) -> Iterator[Record]:
        listens = self._listens
        number = self._listen[first:end]
        times = np.datetime_as_string(listens.listen_time[number].astype("datetime64[us]"), unit="ms").tolist()
        plain = (listens.wording[number] == Wording.PLAIN) & (self._kind[first:end] != Kind.MALFORMED)
        columns = zip(
            range(first, end),
            number.tolist(),
            plain.tolist(),
            self._user_ids[first:end].tolist(),
            times,
            listens.played_ms[number].tolist(),
            [PLATFORMS[index] for index in listens.platform[number].tolist()],
            listens.session[number].tolist(),
            strict=True,
        )
        tracks, texts, event_ids = self._track_ids, self._track_texts, self._event_ids
        for place, listen, is_plain, user_id, time, played_ms, platform, session in columns:
            track = tracks[place]
            if is_plain:
                payload = (
                    f'{{"event_id":"{event_ids[listen]}","user_id":{user_id},"track_id":{texts[track]},'
                    f'"listen_time":"{time}Z","schema_version":{SCHEMA_VERSION},"played_ms":{played_ms},'
                    f'"platform":"{platform}","session_id":"{user_id}-{session}"}}'
                ).encode()
            else:
                event: Event = {"event_id": event_ids[listen], "user_id": user_id, "track_id": track}
                event |= {"listen_time": f"{time}Z", "schema_version": SCHEMA_VERSION, "played_ms": played_ms}
                event |= {"platform": platform, "session_id": f"{user_id}-{session}"}
                payload = self._word(place, listen, event)
            yield Record(payload, str(user_id))

    def _word(self, place: int, listen: int, event: Event) -> bytes:
        """Return the bytes of an event that is malformed or not worded plainly."""
        if self._kind[place] == Kind.MALFORMED:
            return _way(int(self._way[place])).apply(event)
        wording = self._listens.wording[listen]
        moment = EPOCH + timedelta(microseconds=int(self._listens.listen_time[listen]))
        if wording == Wording.SPACE_TIME:
            event["listen_time"] = moment.strftime("%Y-%m-%d %H:%M:%S")
        elif wording == Wording.OFFSET_TIME:
            zone = timezone(timedelta(minutes=OFFSETS_MINUTES[listen % len(OFFSETS_MINUTES)]))
            event["listen_time"] = moment.astimezone(zone).isoformat(timespec="milliseconds")
        elif wording == Wording.NO_EVENT_ID:
            del event["event_id"]
        elif wording == Wording.EXTRA_FIELDS:
            event |= {"device_model": f"model-{listen % 7}", "queue": {"position": listen % 50, "shuffled": True}}
        return encode(event)


def _way(number: int) -> Malformation:
    return MALFORMATIONS[number % len(MALFORMATIONS)]
