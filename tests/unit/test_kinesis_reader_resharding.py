"""Splits and merges of shards: children wait for their parents, and the order of a key holds."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming_jobs.kinesis_source.offsets import Shard
from tests.unit.kinesis_fake import CHILD_A, CHILD_B, ROOT, FakeStream, drain, reader, rows, serve

LEFT, RIGHT, MERGED = Shard("l", closed=True), Shard("r", closed=True), Shard("m", ("l", "r"))


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> FakeStream:
    return serve(FakeStream(), monkeypatch)


def test_children_wait_for_their_parent_also_when_the_split_came_while_stopped(
    stream: FakeStream, tmp_path: Path
) -> None:
    stream.add(Shard("p"), 1, 2)
    first = reader(tmp_path)
    offset = first.latestOffset()
    rows(first, offset)
    stream.numbers["p"] += [3, 4, 5, 6, 7]
    stream.close("p")
    stream.add(CHILD_A, 8)
    stream.add(CHILD_B, 9)
    second = reader(tmp_path, max_records_per_shard=3)
    second.partitions(offset, offset)
    batches = [rows(second, second.latestOffset()) for _ in range(3)]
    assert batches == [{"p": [3, 4, 5]}, {"p": [6, 7]}, {"a": [8], "b": [9]}]


def test_a_merged_shard_waits_for_both_parents(stream: FakeStream, tmp_path: Path) -> None:
    stream.add(LEFT, 1)
    stream.add(RIGHT, *range(2, 22))
    stream.add(MERGED, 30)
    batches = drain(reader(tmp_path, max_records_per_shard=6))
    assert [number for batch in batches for number in batch.get("r", [])] == list(range(2, 22))
    assert [batch for batch in batches if batch][-1] == {"m": [30]}


def test_a_closed_shard_without_records_ends_at_once(stream: FakeStream, tmp_path: Path) -> None:
    stream.add(ROOT)
    stream.add(CHILD_A, 5)
    assert drain(reader(tmp_path)) == [{}, {"a": [5]}]


def test_a_forgotten_parent_is_no_loss(stream: FakeStream, tmp_path: Path) -> None:
    stream.add(ROOT, 1)
    stream.add(CHILD_A, 5)
    one = reader(tmp_path)
    for _ in range(2):
        rows(one, one.latestOffset())
    stream.remove("p")
    stream.numbers["a"].append(6)
    assert rows(one, one.latestOffset()) == {"a": [6]}


def test_a_parent_may_be_forgotten_before_its_children_are_met(stream: FakeStream, tmp_path: Path) -> None:
    stream.add(ROOT, 1)
    stream.add(CHILD_A, 5)
    one = reader(tmp_path)
    rows(one, one.latestOffset())
    stream.remove("p")
    assert rows(one, one.latestOffset()) == {"a": [5]}


@settings(deadline=None, max_examples=60)
@given(
    numbers=st.sets(st.integers(0, 10**6), max_size=40).map(sorted),
    arrivals=st.lists(st.integers(0, 40), max_size=4).map(sorted),
    split=st.integers(0, 40),
    cap=st.integers(1, 12),
    page=st.integers(1, 9),
    tasks=st.integers(0, 2),
    restarts=st.booleans(),
    expires=st.booleans(),
)
def test_every_record_is_read_once_however_it_arrives(  # noqa: PLR0917 - hypothesis names them
    numbers: list[int],
    arrivals: list[int],
    split: int,
    cap: int,
    page: int,
    tasks: int,
    restarts: bool,
    expires: bool,
) -> None:
    """Records go to shard `p`, from number `split` on to its children by parity."""
    fake = FakeStream(page=page, expires=expires)
    fake.add(Shard("p"))
    seen: list[tuple[str, int]] = []
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder:
        serve(fake, patch)
        one = reader(Path(folder), max_records_per_shard=cap, max_tasks=tasks)
        last = one.initialOffset()
        for until in [*arrivals, len(numbers)]:
            fake.numbers["p"] = numbers[: max(min(until, split), len(fake.numbers["p"]))]
            if until > split and "a" not in fake.shards:
                fake.close("p")
                fake.add(CHILD_A)
                fake.add(CHILD_B)
            if "a" in fake.shards:
                for child, parity in (("a", 0), ("b", 1)):
                    come = [number for number in numbers[split:until] if number % 2 == parity]
                    fake.numbers[child] = max(come, fake.numbers[child], key=len)
            for _ in range(100):
                offset = one.latestOffset()
                if offset == last:
                    break
                last, batch = offset, rows(one, offset)
                seen += [(shard, number) for shard, found in batch.items() for number in found]
                if restarts:
                    one = reader(Path(folder), max_records_per_shard=cap, max_tasks=tasks)
                    one.partitions(offset, offset)
                    assert rows(one, offset) == batch
    assert sorted(number for _, number in seen) == numbers
    for shard in "pab":
        assert all(before < after for before, after in pairwise(number for name, number in seen if name == shard))
    from_parent = [place for place, (shard, _) in enumerate(seen) if shard == "p"]
    from_children = [place for place, (shard, _) in enumerate(seen) if shard != "p"]
    assert max(from_parent, default=-1) < min(from_children, default=len(seen))
