"""Where the reader begins, at a moment or at the tip, and where a query that drains the stream ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from streaming_jobs.kinesis_source.offsets import Plan, Position, Shard
from tests.unit.kinesis_fake import CHILD_A, CHILD_B, ROOT, FakeStream, drain, reader, rows, serve


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> FakeStream:
    return serve(FakeStream(), monkeypatch)


def test_latest_is_a_moment_that_can_be_replayed(stream: FakeStream, tmp_path: Path) -> None:
    stream.add(ROOT, 1)
    stream.add(CHILD_A, 2)
    stream.ages = {2: 60.0}
    one = reader(tmp_path, starting_position="LATEST")
    plan = Plan.from_offset(one.initialOffset())
    assert plan.begin == {"a": Position("AT_TIMESTAMP", stream.now, since=stream.now)}
    stream.numbers["a"].append(3)
    assert rows(one, one.latestOffset()) == {"a": [3]}


def test_a_moment_is_found_behind_a_split(stream: FakeStream, tmp_path: Path) -> None:
    stream.add(ROOT, 1, 2)
    stream.add(CHILD_A, 3, 4)
    stream.ages = {1: 90.0, 2: 80.0, 3: 60.0, 4: 30.0}
    for ago, expected in ((85.0, [2, 3, 4]), (45.0, [4])):
        one = reader(tmp_path, starting_position="AT_TIMESTAMP", starting_timestamp=stream.now - ago)
        assert [number for batch in drain(one) for numbers in batch.values() for number in numbers] == expected


def test_draining_reads_up_to_the_tip_and_not_beyond(stream: FakeStream, tmp_path: Path) -> None:
    stream.add(ROOT, 1, 2)
    stream.add(CHILD_A, *range(3, 13))
    stream.add(CHILD_B)
    stream.ages = dict.fromkeys(range(1, 13), 10.0)
    ending = stream.now - 5
    stream.numbers["a"] += [13, 14]  # what arrives while the query drains
    one = reader(tmp_path, max_records_per_shard=4, ending_timestamp=ending)
    batches = drain(one)
    assert [number for batch in batches for numbers in batch.values() for number in numbers] == list(range(1, 13))
    last = one.latestOffset()
    assert last["drained"] == ending
    assert rows(one, last) == {}
    assert one.latestOffset() == last
    later = reader(tmp_path)
    later.partitions(last, last)
    assert rows(later, later.latestOffset()) == {"a": [13, 14]}


def test_draining_an_empty_stream_ends_too(stream: FakeStream, tmp_path: Path) -> None:
    stream.add(Shard("a"))
    one = reader(tmp_path, ending_timestamp=stream.now - 1)
    assert drain(one) == [{}, {}]
    assert one.latestOffset()["drained"] == stream.now - 1
