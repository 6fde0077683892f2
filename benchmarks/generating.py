"""How fast synthetic listens are made and encoded on one core, against two generators that anybody would write first.

Rates are events a second of processor time of one pinned thread: the machine is shared, and time spent waiting for a
core says nothing about the generator. Ratios are medians over rounds in which all three take turns.
"""

from __future__ import annotations

import gc
import json
import os
import random
import statistics
import time
import uuid
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
from faker import Faker

from producers.catalog import Catalog, build_catalog
from producers.records import Lanes
from producers.sessions import PLATFORMS
from producers.shape import users_for
from producers.synthetic import SyntheticSettings, SyntheticStream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

START: Final = date(2024, 6, 25)
DATES: Final = 3
EVENTS: Final = 200_000
PLAIN_EVENTS: Final = 20_000
FAKER_EVENTS: Final = 2_000
ROUNDS: Final = 7


def measure_generating() -> dict[str, float]:
    """Return the rate, faults and keys included, and the ratios to a Faker row and to a dict with `json.dumps`."""
    catalog = build_catalog(1, users=users_for(EVENTS, DATES))
    settings = SyntheticSettings(seed=1, events=EVENTS, start=START, dates=DATES)
    makers: dict[str, tuple[int, Callable[[], Iterator[int]]]] = {
        "ours": (EVENTS, lambda: (len(chunk.payloads) for chunk in SyntheticStream(catalog, settings).chunks(Lanes()))),
        "faker": (FAKER_EVENTS, lambda: (1 for _ in _make_with_faker(FAKER_EVENTS))),
        "dict_json": (PLAIN_EVENTS, lambda: (1 for _ in _make_with_dict(catalog, PLAIN_EVENTS))),
    }
    rates: dict[str, list[float]] = {name: [] for name in makers}
    with _one_core():
        for _ in range(ROUNDS):
            for name, (events, make) in makers.items():
                rates[name].append(_events_per_s(events, make))
    ours = rates["ours"]
    return {
        "generate_events_per_s_per_core": round(statistics.median(ours), 1),
        "generate_ratio_faker": round(_ratio(ours, rates["faker"]), 2),
        "generate_ratio_dict_json": round(_ratio(ours, rates["dict_json"]), 2),
    }


def _events_per_s(events: int, make: Callable[[], Iterator[int]]) -> float:
    """Return events per second of processor time; the garbage of the others is collected before."""
    gc.collect()
    began = time.process_time()
    made = sum(make())
    seconds = time.process_time() - began
    if made != events:
        raise AssertionError(f"expected {events} events; found {made}")
    return events / seconds


def _ratio(ours: list[float], theirs: list[float]) -> float:
    return statistics.median(our / their for our, their in zip(ours, theirs, strict=True))


@contextmanager
def _one_core() -> Iterator[None]:
    """Pin this process to one core and Arrow to one thread, and undo both."""
    cores, threads = os.sched_getaffinity(0), pa.cpu_count()
    os.sched_setaffinity(0, {max(cores)})
    pa.set_cpu_count(1)
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
        pa.set_cpu_count(threads)


def _make_with_faker(events: int) -> Iterator[tuple[bytes, str]]:
    """Fill the eight fields with a provider each."""
    fake = Faker()
    Faker.seed(1)
    midnight = datetime(START.year, START.month, START.day, tzinfo=UTC)
    for _ in range(events):
        user_id = fake.random_int(1_000, 9_999)
        moment = fake.date_time_between(midnight, midnight + timedelta(days=DATES), tzinfo=UTC)
        event = {
            "event_id": fake.uuid4(),
            "user_id": user_id,
            "track_id": fake.bothify("?#??#??#??#??#??#??#??"),
            "listen_time": moment.isoformat(timespec="milliseconds"),
            "schema_version": 1,
            "played_ms": fake.random_int(0, 300_000),
            "platform": fake.random_element(PLATFORMS),
            "session_id": f"{user_id}-{fake.random_int(10_000_000, 99_999_999)}",
        }
        yield json.dumps(event).encode(), str(user_id)


def _make_with_dict(catalog: Catalog, events: int) -> Iterator[tuple[bytes, str]]:
    """Fill a dict by `random` and dump it."""
    rng = random.Random(1)  # noqa: S311
    users, tracks = catalog.user_ids, catalog.track_ids
    midnight = datetime(START.year, START.month, START.day, tzinfo=UTC)
    for _ in range(events):
        user_id = rng.choice(users)
        moment = midnight + timedelta(milliseconds=rng.randrange(DATES * 86_400_000))
        event: dict[str, Any] = {
            "event_id": str(uuid.UUID(int=rng.getrandbits(128), version=4)),
            "user_id": user_id,
            "track_id": rng.choice(tracks),
            "listen_time": moment.isoformat(timespec="milliseconds"),
            "schema_version": 1,
            "played_ms": rng.randrange(300_000),
            "platform": rng.choice(PLATFORMS),
            "session_id": f"{user_id}-{rng.randrange(10_000_000, 99_999_999)}",
        }
        yield json.dumps(event).encode(), str(user_id)
