"""Generated histories: incremental KPIs equal a recompute and DuckDB, bit for bit, whatever happened on the way.

A history is what happens to the listens of one genre on one date: when each is delivered, how often, whether it is
deleted. Hypothesis makes them, and all of them go through the same runs, kept apart by date and genre; each round dies
once in each job, at another boundary, and is run again. `HISTORIES` in the environment sets how many.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final

from delta.tables import DeltaTable
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from lakehouse import lake_tables
from tests.integration.kpi_oracle import by_duckdb, presented
from tests.integration.laboratory import Lab
from tests.integration.records import Row, listen, song

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

HISTORIES: Final = int(os.environ.get("HISTORIES", "200"))
GENRES: Final = 10
"""Histories that share a date."""
ROUNDS: Final = 4
FIRST: Final = date(2024, 1, 1)
USERS: Final = (1, 63, 64, 511, 512, 2**40 + 3)
LATER_USERS: Final = (600, 601)
"""Users who are in the file from the third round on."""
KILLS: Final = (
    ("merged", "consumed_archived"),
    ("rejects_written", "partials_committed"),
    ("reentry_merged", "daily_listens_committed"),
    ("marked", "top_genres_items_written"),
)
"""Where each round's runs die first: between commits of the one job and of the other."""


@dataclass(frozen=True)
class Listen:
    """One listen of a history: who, which of the genre's tracks, when, in which rounds it comes and when it is gone."""

    user: int
    track: int
    minute: int
    rounds: tuple[int, ...]
    deleted_in: int | None


listens = st.builds(
    Listen,
    user=st.sampled_from(USERS + LATER_USERS),
    track=st.integers(0, 3),
    minute=st.integers(0, 1439),
    rounds=st.lists(st.integers(0, ROUNDS - 1), min_size=1, max_size=3).map(tuple),
    deleted_in=st.none() | st.integers(0, ROUNDS - 1),
)
histories = st.lists(listens, max_size=8, unique_by=lambda one: (one.user, one.track, one.minute))


def made() -> list[list[Listen]]:
    """As many histories as are asked for."""
    found: list[list[Listen]] = []

    @settings(
        max_examples=HISTORIES,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(histories)
    def make(history: list[Listen]) -> None:
        found.append(history)

    make()
    return found


class World:
    """What has been delivered, told in plain Python: the listens that must be in the curated table."""

    def __init__(self, found: list[list[Listen]]) -> None:
        self._listens = [(number, one) for number, history in enumerate(found) for one in history]
        self.curated: dict[str, tuple[str, str]] = {}
        """Event to its date and the name that its track had when it was merged."""
        self._unknown: dict[str, tuple[str, str]] = {}

    def deliveries(self, number: int) -> list[Row]:
        """Rows of a round, each as often as it comes."""
        return [
            self._row(history, one, sequence=f"{number}{place:06}{again}")
            for place, (history, one) in enumerate(self._listens)
            for again in range(one.rounds.count(number))
        ]

    def merge(self, number: int, users: set[int]) -> None:
        """Do to the listens what the merge of a round must do: what was unknown first, and nothing twice."""
        user = self._user
        for event, kept in list(self._unknown.items()):
            if user[event] in users:
                self.curated.setdefault(event, kept)
                del self._unknown[event]
        for history, one in self._listens:
            if number in one.rounds:
                row = self._row(history, one, sequence="0")
                kept = (str(row["listen_time"].date()), row["track_id"])
                (self.curated if one.user in users else self._unknown).setdefault(row["event_id"], kept)

    def delete(self, number: int) -> list[tuple[str, str]]:
        """Take the listens away that are deleted in a round; return (event_id, listen_date) of each."""
        gone = []
        for history, one in self._listens:
            event = self._row(history, one, sequence="0")["event_id"]
            if one.deleted_in == number and event in self.curated:
                gone.append((event, self.curated.pop(event)[0]))
        return gone

    @property
    def _user(self) -> dict[str, int]:
        return {self._row(history, one, sequence="0")["event_id"]: one.user for history, one in self._listens}

    @staticmethod
    def _row(history: int, one: Listen, *, sequence: str) -> Row:
        day = FIRST + timedelta(days=history // GENRES)
        time = f"{day}T{one.minute // 60:02d}:{one.minute % 60:02d}:00"
        return listen(one.user, f"g{history % GENRES}-t{one.track}", time, sequence=sequence)


def put_songs(lab: Lab, *, renamed: bool = False) -> None:
    """A track's name may change; listens that are merged keep the one they have."""
    lab.put_songs(
        *[
            song(
                10 * genre + track,
                f"g{genre}-t{track}",
                genre=f"g{genre}",
                duration_ms=1000 + 7 * track,
                **({"track_name": f"A new name {track}"} if renamed and track == 0 else {}),
            )
            for genre in range(GENRES)
            for track in range(4)
        ]
    )


def state(lab: Lab) -> tuple[Any, ...]:
    """Versions of the tables and all items: what a further run may not change."""
    partials = lab.delta_version(lab.places.curated_bucket, lake_tables.PARTIALS.prefix)
    return lab.latest_version(), partials, lab.presentation_versions(), lab.genre_items()


def test_incremental_equals_recompute_equals_duckdb(lab: Lab, spark: SparkSession) -> None:
    found = made()
    assert len(found) >= HISTORIES
    world = World(found)
    put_songs(lab)
    for number in range(ROUNDS):
        users = {*USERS, *(LATER_USERS if number >= 2 else ())}
        lab.put_users(*sorted(users))
        if number == 3:
            put_songs(lab, renamed=True)
        lab.put_batch(number, *world.deliveries(number))
        first, second = KILLS[number]
        # Of many histories the unknown users are more than the breaker lets through.
        assert lab.transform(kill_at=first, breaker_rate=1.0)["crashed"]
        lab.transform(breaker_rate=1.0)
        world.merge(number, users)
        assert Counter(row["event_id"] for row in lab.latest()) == Counter(list(world.curated))
        if gone := world.delete(number):
            latest = DeltaTable.forPath(spark, lake_tables.LATEST.uri(lab.places))
            days = ", ".join(sorted({f"DATE'{day}'" for _, day in gone}))
            events = ", ".join(f"'{event}'" for event, _ in gone)
            latest.delete(f"listen_date IN ({days}) AND event_id IN ({events})")
        assert lab.kpis(kill_at=second)["crashed"]
        lab.kpis()
        curated = lab.latest()
        assert Counter(row["event_id"] for row in curated) == Counter(list(world.curated))
        assert presented(lab) == by_duckdb(curated)
    before = state(lab)
    assert not any(lab.kpis(mode="recompute")["drift"].values())
    lab.transform()
    lab.kpis()
    assert state(lab) == before
    served = {key: item["listen_count"] for key, item in lab.genre_items().items() if not item.get("deleted")}
    genres, _ = presented(lab)
    assert served == {(str(row["listen_date"]), row["track_genre"]): row["listen_count"] for row in genres}
