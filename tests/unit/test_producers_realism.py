"""What was asked of the listens against what was drawn, and the same bytes however the work is shared out."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from datetime import date
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.catalog import Catalog, build_catalog
from producers.errors import ProducerError
from producers.faults import FaultRates, Kind
from producers.listens import BLOCK, ListenSettings, draw_listens
from producers.records import Chunk, Lanes, lane_of
from producers.sessions import Listens
from producers.shape import MS_PER_DAY, MS_PER_HOUR, WEEKDAY, WEEKEND, ListenShape, users_for
from producers.synthetic import SyntheticSettings, SyntheticStream

MONDAY_MS = 1_719_187_200_000  # 2024-06-24T00:00:00Z
DURATION_MS = 200_000
NO_FAULTS = dict.fromkeys(FaultRates.__dataclass_fields__, 0.0)


def draw(count: int, shape: ListenShape, *, users: int, days: int = 7, tracks: int = 5_000) -> Listens:
    listens = draw_listens(
        ListenSettings(
            seed=5,
            count=count,
            users=users,
            durations_ms=[DURATION_MS] * tracks,
            begin_ms=MONDAY_MS,
            end_ms=MONDAY_MS + days * MS_PER_DAY,
            shape=shape,
        )
    )
    return np.concatenate(list(listens))


@pytest.fixture(scope="module")
def week() -> Listens:
    return draw(300_000, ListenShape(), users=3_000)


@pytest.fixture(scope="module")
def sessions(week: Listens) -> list[list[tuple[int, int]]]:
    """(time, played_ms) of the listens of each session, by user and time."""
    found: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for listen in week[["user", "session", "time", "played_ms"]].tolist():
        found.setdefault(listen[:2], []).append(listen[2:])
    return [found[key] for key in sorted(found)]


def test_listens_come_in_order_and_as_many_as_asked(week: Listens) -> None:
    assert len(week) == 300_000
    assert (np.diff(week["time"]) >= 0).all()
    assert week["time"][0] >= MONDAY_MS
    assert week["time"][-1] < MONDAY_MS + 8 * MS_PER_DAY


@pytest.mark.parametrize("repetition", [0.0, 0.65])
@pytest.mark.parametrize("exponent", [0.0, 0.8, 1.1])
def test_plays_fall_with_the_rank_as_zipf_says(exponent: float, repetition: float) -> None:
    shape = ListenShape(zipf=exponent, repetition=repetition)
    listens = draw(250_000, shape, users=4_000, tracks=2_000)
    plays = np.sort(np.bincount(listens["track"], minlength=2_000))[::-1][:400]
    slope = np.polyfit(np.log(np.arange(1, 401)), np.log(plays), 1)[0]
    # Sorted by plays even equal tracks fall a little, by chance alone; more so where each choice is repeated.
    assert slope == pytest.approx(-exponent, abs=0.15 if exponent == 0.0 else 0.05)


def test_hours_follow_the_cycle_of_weekdays_and_of_the_weekend(week: Listens) -> None:
    # By the begin of sessions: their listens come up to hours later.
    first = week[np.unique(week["user"].astype(np.int64) << 32 | week["session"], return_index=True)[1]]
    since = first["time"] - MONDAY_MS
    hour, day = since % MS_PER_DAY // MS_PER_HOUR, since // MS_PER_DAY
    for chosen, shape in ((day < 5, WEEKDAY), (day >= 5, WEEKEND)):
        found = np.bincount(hour[chosen], minlength=24) / chosen.sum()
        asked = np.array(shape) / sum(shape)
        assert np.abs(found - asked).max() < 0.012
        assert int(found.argmin()) in (2, 3)
        assert found[[2, 3]].max() < 0.65 * found[[0, 6]].min()
        assert int(found.argmax()) in (18, 19)
    weekday, weekend = (np.bincount(hour[chosen], minlength=24) for chosen in (day < 5, day >= 5))
    assert weekday[[9, 10]].min() > 1.15 * weekday[12]
    assert weekend[[9, 10]].max() < weekend[13]


def test_session_lengths_are_geometric(sessions: list[list[tuple[int, int]]]) -> None:
    lengths = np.array([len(session) for session in sessions])
    assert lengths.mean() == pytest.approx(11.0, rel=0.03)
    for longer in (1, 5, 10, 20, 40):
        assert (lengths > longer).mean() == pytest.approx((1 - 1 / 11) ** longer, abs=0.012)


def test_within_a_session_a_listen_follows_the_last_one_and_between_sessions_lie_30_minutes(week: Listens) -> None:
    order = np.lexsort((week["time"], week["user"]))
    user, session, time, played = (
        week[name][order].astype(np.int64) for name in ("user", "session", "time", "played_ms")
    )
    same_user = user[1:] == user[:-1]
    same_session = same_user & (session[1:] == session[:-1])
    pause = time[1:] - time[:-1] - played[:-1]
    assert pause[same_session].min() >= 1
    assert pause[same_session].max() <= 2_000
    between = pause[same_user & ~same_session]
    assert between.min() >= 30 * 60_000
    # Poisson: gaps vary, and few sessions had to wait for the one before.
    assert (between < 30 * 60_000 + 2_000).mean() < 0.2
    assert between.std() > 0.5 * between.mean()


def test_a_few_per_cent_of_the_users_make_tens_of_per_cent_of_the_listens(week: Listens) -> None:
    plays = np.sort(np.bincount(week["user"], minlength=3_000))[::-1]
    assert 0.18 < plays[:150].sum() / len(week) < 0.4
    even = draw(300_000, ListenShape(activity_sigma=0.0), users=3_000)
    plays = np.sort(np.bincount(even["user"], minlength=3_000))[::-1]
    assert plays[:150].sum() / len(even) < 0.12


@pytest.mark.parametrize("repetition", [0.0, 0.3, 0.65, 1.0])
def test_listens_repeat_the_recent_tracks_of_their_user(repetition: float) -> None:
    # So many tracks, all alike, that hardly one comes twice by chance.
    listens = draw(200_000, ListenShape(repetition=repetition, zipf=0.0), users=1_500, tracks=500_000)
    recent: dict[int, list[int]] = {}
    repeated = known = 0
    for user, track in zip(listens["user"].tolist(), listens["track"].tolist(), strict=True):
        heard = recent.setdefault(user, [])
        known += bool(heard)
        repeated += track in heard[-32:]
        heard.append(track)
    assert repeated / known == pytest.approx(repetition, abs=0.01)


def test_skips_have_their_shares(week: Listens) -> None:
    played = week["played_ms"]
    assert (played <= 5_000).mean() == pytest.approx(0.25, abs=0.005)
    assert (played <= 30_000).mean() == pytest.approx(0.35, abs=0.005)
    assert (played < DURATION_MS).mean() == pytest.approx(0.50, abs=0.005)
    assert played.max() == DURATION_MS
    none = draw(5_000, ListenShape(skips=((0.0, 0.0),), skipped=0.0), users=500)
    assert set(none["played_ms"].tolist()) == {DURATION_MS}


def test_too_few_users_are_an_error_that_says_how_to_have_enough() -> None:
    with pytest.raises(ProducerError, match=r"at most .* listens from 10 users.*found 100,000.*a new catalog folder"):
        draw(100_000, ListenShape(), users=10)
    enough = users_for(100_000, 7)
    assert len(draw(100_000, ListenShape(), users=enough)) == 100_000
    assert users_for(10, 3) >= 1
    assert users_for(200_000, 7) == pytest.approx(2 * enough, rel=0.01)


@pytest.mark.parametrize(
    "wrong",
    [{"weekday": (1.0,) * 23}, {"session_mean": 0.5}, {"repetition": 1.2}, {"skips": ((5.0, 0.6),)}, {"memory": 0}],
)
def test_a_shape_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ProducerError, match="Correct the settings of the listens' shape"):
        ListenShape(**wrong)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return build_catalog(9, users=4_000, songs=2_000)


def test_each_kind_of_fault_occurs_exactly_as_often_as_asked_over_several_blocks(catalog: Catalog) -> None:
    events = 3 * BLOCK + 777
    rates = FaultRates(late=0.03, out_of_order=0.01, oversize=0.0002, conflicting_duplicate=0.004)
    stream = SyntheticStream(catalog, SyntheticSettings(seed=2, events=events, start=date(2024, 6, 24), rates=rates))
    found: Counter[int] = Counter()
    sizes = []
    for block in stream._blocks():
        found.update(block.kind.tolist())
        sizes.append(len(block))
    asked = rates.count(events)
    assert {kind: found[kind] for kind in asked} == asked
    assert sum(sizes) == events == found.total()
    assert len(sizes) > 1
    assert min(asked.values()) >= 1
    rare = FaultRates(**(NO_FAULTS | {"oversize": 1e-9, "late": 1e-9}))
    asked = rare.count(1_000)
    assert asked == dict.fromkeys(asked, 0) | {Kind.OVERSIZE: 1, Kind.LATE: 1}


def test_out_of_order_listens_come_after_later_ones_and_only_they_do(catalog: Catalog) -> None:
    rates = FaultRates(**(NO_FAULTS | {"out_of_order": 0.01}))
    shape = ListenShape(other_wordings=0.0)
    asked = SyntheticSettings(seed=2, events=20_000, start=date(2024, 6, 24), rates=rates, shape=shape)
    facts = SyntheticStream(catalog, asked).facts().to_pylist()
    in_order = [fact["listen_time"] for fact in facts if fact["kind"] == "listen"]
    assert all(later >= earlier for earlier, later in pairwise(in_order))
    latest, behind = 0, []
    for fact in facts:
        if fact["kind"] == "out_of_order":
            behind.append(fact["listen_time"] < latest)
        latest = max(latest, fact["listen_time"])
    assert len(behind) == 200
    assert sum(behind) > 190


Entry = tuple[int, bytes, str]


def entries(chunks: list[Chunk]) -> list[Entry]:
    return [entry for chunk in chunks for entry in zip(chunk.positions, chunk.payloads, chunk.keys, strict=True)]


@settings(max_examples=6, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    owner=st.lists(st.integers(0, 2), min_size=1, max_size=9),
)
def test_any_share_out_over_lanes_and_processes_gives_the_same_bytes(
    catalog: Catalog, seed: int, owner: list[int]
) -> None:
    asked = SyntheticSettings(seed=seed, events=2 * BLOCK + 5_000, start=date(2024, 6, 24))
    whole = entries(list(SyntheticStream(catalog, asked).chunks(Lanes())))
    assert [position for position, _, _ in whole] == list(range(asked.events))
    shared: list[Entry] = []
    for process in sorted(set(owner)):
        mine = tuple(lane for lane, of in enumerate(owner) if of == process)
        last = dict.fromkeys(mine, -1)
        for chunk in SyntheticStream(catalog, asked).chunks(Lanes(len(owner), mine)):
            assert 0 < len(chunk.payloads) <= 2_000
            assert last[chunk.lane] < chunk.positions[0]
            assert {lane_of(key, len(owner)) for key in set(chunk.keys)} == {chunk.lane}
            last[chunk.lane] = chunk.positions[-1]
            shared += entries([chunk])
    assert sorted(shared) == whole


def test_memory_does_not_grow_with_the_number_of_events(catalog: Catalog) -> None:
    def peak(blocks: int) -> int:
        asked = SyntheticSettings(seed=1, events=blocks * BLOCK, start=date(2024, 6, 24), dates=2 * blocks)
        stream = SyntheticStream(catalog, asked)
        tracemalloc.start()
        for _ in stream.chunks(Lanes(4, (1,))):
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(32) < 1.3 * peak(8)
