"""Batches that are read again, by a restarted or another reader: the same records each time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streaming_jobs.kinesis_source.errors import OvertakenError
from streaming_jobs.kinesis_source.journal import FolderJournal
from streaming_jobs.kinesis_source.offsets import Plan, Shard
from streaming_jobs.kinesis_source.reader import KEPT_BATCHES, ends_name, plan_name
from streaming_jobs.kinesis_source.side_by_side import AHEAD
from tests.unit.kinesis_fake import FakeStream, reader, rows, serve


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> FakeStream:
    return serve(FakeStream(), monkeypatch)


def test_a_replay_after_a_restart_reads_exactly_what_was_read(stream: FakeStream, tmp_path: Path) -> None:
    stream.add(Shard("a"), 8, 9, 10, 11)
    stream.add(Shard("b"), 99, 100)
    first = reader(tmp_path)
    offset = first.latestOffset()
    expected = rows(first, offset)
    assert expected == {"a": [8, 9, 10, 11], "b": [99, 100]}
    # The query dies. More arrives, and a shard is split, before it is back.
    stream.numbers["a"] += [14]
    stream.numbers["b"] += [101]
    stream.close("a")
    stream.add(Shard("c", ("a",)), 200)
    second = reader(tmp_path)
    assert second.partitions(offset, offset) == []
    assert rows(second, offset) == rows(second, offset) == expected
    later = [rows(second, second.latestOffset()) for _ in range(2)]
    assert later == [{"a": [14], "b": [101]}, {"c": [200]}]


def test_whoever_reads_a_batch_second_reads_what_the_first_one_read(stream: FakeStream, tmp_path: Path) -> None:
    stream.add(Shard("a"), 1, 2)
    one, woken = reader(tmp_path), reader(tmp_path)
    offset = one.latestOffset()
    [part] = woken.partitions({}, offset)
    before = woken.read(part)
    assert rows(one, offset) == {"a": [1, 2]}
    stream.numbers["a"] += [3, 4]
    assert [number for batch in before for number in batch["sequenceNumber"].to_pylist()] == ["1", "2"]


@pytest.mark.parametrize("more", [[], [3]])
def test_a_race_for_the_end_of_a_batch_has_one_winner(stream: FakeStream, tmp_path: Path, more: list[int]) -> None:
    stream.add(Shard("a"), 1, 2)
    one, other = reader(tmp_path), reader(tmp_path)
    offset = one.latestOffset()

    class Late(FolderJournal):
        def put_once(self, name: str, text: str) -> str:
            # Between the reading and the record, another attempt reads, perhaps further, and records its end.
            stream.numbers["a"] += more
            assert rows(other, offset) == {"a": [1, 2, *more]}
            return super().put_once(name, text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(one, "_journal", lambda: Late(tmp_path))
        if more:
            with pytest.raises(OvertakenError, match="faster"):
                rows(one, offset)
        else:
            assert rows(one, offset) == {"a": [1, 2]}
    assert rows(one, offset) == {"a": [1, 2, *more]}


def test_rows_leave_a_task_while_others_are_fetched_and_no_more_than_a_few_wait(
    stream: FakeStream, tmp_path: Path
) -> None:
    stream.gap = False
    stream.add(Shard("a"), *range(10, 100))
    one = reader(tmp_path)
    offset = one.latestOffset()
    [part] = one.partitions({}, offset)
    for _ in ("for the first time", "again"):
        stream.calls.clear()
        batches = one.read(part)
        for taken in range(1, 30):
            assert len(next(batches)) == stream.page
            assert len(stream.calls) <= taken + AHEAD + 1
        assert [len(batch) for batch in batches] == [stream.page]


def test_a_batch_that_is_not_read_to_its_end_has_none(stream: FakeStream, tmp_path: Path) -> None:
    stream.add(Shard("a"), *range(10, 100))
    one = reader(tmp_path)
    offset = one.latestOffset()
    [part] = one.partitions({}, offset)
    batches = one.read(part)
    next(batches)
    batches.close()  # type: ignore[attr-defined] # a generator
    assert rows(one, offset) == {"a": list(range(10, 100))}


def test_two_drivers_plan_the_same_batch(stream: FakeStream, tmp_path: Path) -> None:
    stream.add(Shard("a"), 1)
    one = reader(tmp_path)
    offset = one.latestOffset()
    rows(one, offset)
    stream.numbers["a"].append(2)
    planned = one.latestOffset()
    woken = reader(tmp_path, max_tasks=1)
    woken.partitions(offset, offset)
    stream.add(Shard("b"), 3)
    assert woken.latestOffset() == planned


def test_a_batch_that_nobody_read_comes_again(stream: FakeStream, tmp_path: Path) -> None:
    stream.add(Shard("a"), 1, 2)
    one = reader(tmp_path)
    first = one.latestOffset()
    second = one.latestOffset()
    assert first != second
    assert rows(one, second) == {"a": [1, 2]}


def test_the_journal_forgets_what_nobody_can_ask_for(stream: FakeStream, tmp_path: Path) -> None:
    stream.add(Shard("a"), *range(10, 10 + KEPT_BATCHES + 5))
    one = reader(tmp_path, max_records_per_shard=1)
    last: dict[str, Any] = {}
    for _ in range(KEPT_BATCHES + 3):
        last = one.latestOffset()
        rows(one, last)
        one.commit(last)
    plan = Plan.from_offset(last)
    serials = range(4, KEPT_BATCHES + 4)
    kept = {name for serial in serials for name in (plan_name(plan.epoch, serial), ends_name(plan.epoch, serial, 0))}
    assert set(FolderJournal(tmp_path).names()) == kept


def test_a_checkpoint_of_the_release_before_the_journal_goes_on(stream: FakeStream, tmp_path: Path) -> None:
    stream.add(Shard("a"), 1, 2, 3, 4, 5)
    stream.add(Shard("b"), 7)
    place = {"start": "TRIM_HORIZON", "timestamp": None, "after": None, "ended": False}
    old = {
        "from": {"a": place | {"after": "1"}, "b": place},
        "to": {"a": place | {"after": "3"}, "b": place},
    }
    for _ in range(2):  # the batch that was under way, and the same again
        one = reader(tmp_path)
        assert one.partitions(old, old) == []
        assert rows(one, old) == {"a": [2, 3]}
    following = one.latestOffset()
    assert rows(one, following) == {"a": [4, 5], "b": [7]}
    stream.numbers["a"].append(6)
    woken = reader(tmp_path)
    woken.partitions(old, old)
    assert woken.latestOffset() == following
