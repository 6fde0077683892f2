"""Where a query stands in a stream: positions, and plans in a checkpoint."""

from __future__ import annotations

import json
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming_jobs.kinesis_source.offsets import (
    Plan,
    Position,
    Shard,
    first_positions,
    spread,
    vanished,
    with_ready_children,
    without_finished_ancestors,
)

ROOT, CHILD_A, CHILD_B = Shard("p", closed=True), Shard("a", ("p",)), Shard("b", ("p",))
LEFT, RIGHT, MERGED = Shard("l", closed=True), Shard("r", closed=True), Shard("m", ("l", "r"))
START: Final = Position()
END: Final = Position(after="9", ended=True)


# -- positions --------------------------------------------------------------------------------------------------------


def test_trim_horizon_starts_with_the_oldest_shards() -> None:
    assert first_positions([CHILD_A, ROOT, CHILD_B], start="TRIM_HORIZON", timestamp=None) == {"p": START}


def test_trim_horizon_starts_with_children_whose_parents_are_gone() -> None:
    assert set(first_positions([CHILD_A, CHILD_B], start="TRIM_HORIZON", timestamp=None)) == {"a", "b"}


def test_latest_starts_with_the_open_shards() -> None:
    found = first_positions([ROOT, CHILD_A, CHILD_B], start="LATEST", timestamp=5.0, since=5.0)
    here = Position("AT_TIMESTAMP", 5.0, since=5.0)
    assert found == {"a": here, "b": here}


def test_a_moment_may_lie_in_a_closed_shard_or_in_its_children() -> None:
    here = Position("AT_TIMESTAMP", 5.0)
    first = first_positions([ROOT, CHILD_A, CHILD_B], start="AT_TIMESTAMP", timestamp=5.0)
    assert first == {"p": here}
    ended = {"p": Position("AT_TIMESTAMP", 5.0, ended=True)}
    assert with_ready_children(ended, [ROOT, CHILD_A, CHILD_B]) == ended | {"a": here, "b": here}


def test_a_child_is_known_to_hold_nothing_older_than_what_its_parents_hold() -> None:
    positions = {"l": Position(after="1", ended=True, since=7.0), "r": Position(after="2", ended=True, since=5.0)}
    assert with_ready_children(positions, [LEFT, RIGHT, MERGED])["m"] == Position(since=5.0)
    positions["r"] = Position(after="2", ended=True)
    assert with_ready_children(positions, [LEFT, RIGHT, MERGED])["m"] == Position()


@pytest.mark.parametrize(
    ("positions", "shards", "children"),
    [
        ({"p": START}, [ROOT, CHILD_A, CHILD_B], set()),
        ({"p": END}, [ROOT, CHILD_A, CHILD_B], {"a", "b"}),
        ({"l": END, "r": START}, [LEFT, RIGHT, MERGED], set()),
        ({"l": START, "r": END}, [LEFT, RIGHT, MERGED], set()),
        ({"l": END, "r": END}, [LEFT, RIGHT, MERGED], {"m"}),
        # The query started after the left half was gone, so it never met it.
        ({"r": END}, [RIGHT, MERGED], {"m"}),
        # The left half is itself a child that waits for its parent.
        ({"l0": START, "r": END}, [Shard("l0", closed=True), Shard("l", ("l0",), closed=True), RIGHT, MERGED], set()),
        # A parent that the stream forgot meanwhile.
        ({"p": END}, [CHILD_A, CHILD_B], {"a", "b"}),
        # A shard of which nothing was met belongs to another family, or the query started with LATEST behind it.
        ({"x": START}, [Shard("x"), LEFT, RIGHT, MERGED], set()),
    ],
)
def test_parents_come_before_children(positions: dict[str, Position], shards: list[Shard], children: set[str]) -> None:
    found = with_ready_children(positions, shards)
    assert set(found) - set(positions) == children
    assert all(found[child] == START for child in children)
    assert {shard: found[shard] for shard in positions} == positions


def test_a_child_that_is_being_read_keeps_its_place() -> None:
    positions = {"p": END, "a": Position(after="12")}
    assert with_ready_children(positions, [ROOT, CHILD_A, CHILD_B]) == {**positions, "b": START}


def test_what_is_forgotten_and_what_is_lost() -> None:
    positions = {"gone and read": END, "gone unread": Position(after="1"), "listed": START, "listed and read": END}
    shards = [Shard("listed"), Shard("listed and read", closed=True)]
    assert set(without_finished_ancestors(positions, shards)) == {"gone unread", "listed", "listed and read"}
    assert vanished(positions, shards) == ["gone unread"]


places = st.builds(
    Position,
    start=st.sampled_from(["TRIM_HORIZON", "AT_TIMESTAMP"]),
    timestamp=st.none() | st.floats(0, 2e9),
    after=st.none() | st.integers(0, 10**56).map(str),
    ended=st.booleans(),
    since=st.none() | st.floats(0, 2e9),
)
positions = st.dictionaries(st.text(min_size=1, max_size=20), places, max_size=5)


@given(begin=positions, serial=st.integers(0), drained=st.none() | st.floats(1, 2e9), tasks=st.integers(0, 4))
def test_plans_round_trip_through_the_checkpoint(
    begin: dict[str, Position], serial: int, drained: float | None, tasks: int
) -> None:
    lost = {shard: place.since for shard, place in begin.items() if place.ended}
    plan = Plan(epoch="e", serial=serial, begin=begin, tasks=spread(begin, tasks), lost=lost, drained=drained)
    assert Plan.from_offset(json.loads(json.dumps(plan.to_offset()))) == plan


@given(begin=positions, tasks=st.integers(0, 4))
def test_each_shard_that_has_not_ended_is_read_by_one_task(begin: dict[str, Position], tasks: int) -> None:
    dealt = spread(begin, tasks)
    assert sorted(shard for shards in dealt for shard in shards) == sorted(
        shard for shard, place in begin.items() if not place.ended
    )
    assert all(dealt)
    assert not tasks or len(dealt) <= tasks
    assert max(map(len, dealt), default=0) - min(map(len, dealt), default=0) <= 1
