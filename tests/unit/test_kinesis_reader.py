"""Batches and their replay on any stream: each record once, fetched once, in the order of its key."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming_jobs.kinesis_source.errors import DataLossError
from streaming_jobs.kinesis_source.journal import FolderJournal
from streaming_jobs.kinesis_source.offsets import Plan, Position, Shard
from streaming_jobs.kinesis_source.progress import latest_progress, progress_of
from streaming_jobs.kinesis_source.reader import KEPT_BATCHES, KinesisStreamReader, ends_name, plan_name
from tests.unit.kinesis_fake import DAY, FakeClient, FakeStream, drain, options, rows

ROOT, CHILD_A, CHILD_B = Shard("p", closed=True), Shard("a", ("p",)), Shard("b", ("p",))
LEFT, RIGHT, MERGED = Shard("l", closed=True), Shard("r", closed=True), Shard("m", ("l", "r"))


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> FakeStream:
    fake = FakeStream()
    monkeypatch.setattr(KinesisStreamReader, "_client", lambda _self: FakeClient(fake))
    monkeypatch.setattr("time.time", lambda: fake.now)
    return fake


def reader(folder: Path, **others: Any) -> KinesisStreamReader:
    return KinesisStreamReader(options(folder, **others))


def fetched_again(stream: FakeStream) -> list[int]:
    return [number for number, times in stream.fetched.items() if times > 1]


def test_batches_hold_every_record_once_up_to_the_cap_and_fetch_each_once(stream: FakeStream, tmp_path: Path) -> None:
    stream.add(Shard("a"), *range(5, 105, 5))
    stream.add(Shard("b"), 9, 11, 12)
    batches = drain(reader(tmp_path, max_records_per_shard=7))
    assert [len(batch.get("a", [])) for batch in batches] == [7, 7, 6]
    assert [number for batch in batches for number in batch.get("a", [])] == list(range(5, 105, 5))
    assert [number for batch in batches for number in batch.get("b", [])] == [9, 11, 12]
    # The look at a stream of which nothing is known takes one record; whatever waits behind a cap needs no look.
    assert fetched_again(stream) == [5]


def test_a_cap_in_bytes_ends_a_batch_too(stream: FakeStream, tmp_path: Path) -> None:
    stream.add(Shard("a"), *range(10, 40))
    batches = drain(reader(tmp_path, max_bytes_per_shard=45))
    # Nine bytes a record: the first call does not know that, and the others ask for no more than fits.
    assert [len(batch["a"]) for batch in batches] == [5] * 6
    assert fetched_again(stream) == [10]


def test_caps_of_a_batch_are_shared_by_its_shards(stream: FakeStream, tmp_path: Path) -> None:
    for name in "abcd":
        stream.add(Shard(name), *(ord(name) * 100 + number for number in range(10)))
    batches = drain(reader(tmp_path, max_records_per_batch=8, max_tasks=2))
    assert all(sum(map(len, batch.values())) <= 8 for batch in batches)
    assert len([number for batch in batches for numbers in batch.values() for number in numbers]) == 40


def test_nothing_new_is_the_same_offset(stream: FakeStream, tmp_path: Path) -> None:
    stream.add(Shard("a"), 1)
    one = reader(tmp_path)
    offset = one.latestOffset()
    assert rows(one, offset) == {"a": [1]}
    assert one.latestOffset() == one.latestOffset() == offset
    stream.numbers["a"].append(2)
    assert rows(one, one.latestOffset()) == {"a": [2]}


def test_an_empty_stream_has_no_batch(stream: FakeStream, tmp_path: Path) -> None:
    stream.add(Shard("a"))
    assert drain(reader(tmp_path)) == []


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


def test_a_race_for_the_end_of_a_batch_has_one_winner(stream: FakeStream, tmp_path: Path) -> None:
    stream.add(Shard("a"), 1, 2)
    one, other = reader(tmp_path), reader(tmp_path)
    offset = one.latestOffset()

    class Late(FolderJournal):
        def put_once(self, name: str, text: str) -> str:
            # Between the reading and the record, another attempt reads further and records its end.
            stream.numbers["a"].append(3)
            assert rows(other, offset) == {"a": [1, 2, 3]}
            return super().put_once(name, text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(one, "_journal", lambda: Late(tmp_path))
        assert rows(one, offset) == {"a": [1, 2, 3]}


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


def test_a_vanished_shard_is_data_loss(stream: FakeStream, tmp_path: Path) -> None:
    stream.add(Shard("a"), 1)
    stream.add(Shard("b"), 2)
    one = reader(tmp_path)
    offset = one.latestOffset()
    rows(one, offset)
    stream.remove("a")
    with pytest.raises(DataLossError, match=r"shards of listens.*a after 1; found.*failOnDataLoss=false"):
        one.latestOffset()
    stream.numbers["b"].append(3)
    careless = reader(tmp_path, fail_on_data_loss=False)
    careless.partitions(offset, offset)
    later = careless.latestOffset()
    assert rows(careless, later) == {"b": [3]}
    assert progress_of(str(tmp_path), later).vanished == ("a",)
    assert progress_of(str(tmp_path), later).losses == 1


def trimmed(stream: FakeStream, tmp_path: Path) -> dict[str, Any]:
    """Read 1 and 2; be away for two days, in which 3 comes and goes and 4 comes."""
    stream.add(Shard("a"), 1, 2)
    one = reader(tmp_path)
    offset = one.latestOffset()
    rows(one, offset)
    stream.now += 2 * DAY
    stream.numbers["a"] = [4]
    stream.ages = {4: 3600.0}
    return offset


def test_records_trimmed_inside_a_living_shard_are_data_loss(stream: FakeStream, tmp_path: Path) -> None:
    offset = trimmed(stream, tmp_path)
    one = reader(tmp_path)
    one.partitions(offset, offset)
    told = (
        r"shard a after 2 in listens; found record 4 as the oldest one left: .*2024-06-25T18:00:00Z and 2024-06-27T17"
    )
    with pytest.raises(DataLossError, match=told + r".*47\.0 hours"):
        rows(one, one.latestOffset())


def test_data_loss_can_be_counted_instead(stream: FakeStream, tmp_path: Path) -> None:
    offset = trimmed(stream, tmp_path)
    one = reader(tmp_path, fail_on_data_loss=False)
    one.partitions(offset, offset)
    later = one.latestOffset()
    assert rows(one, later) == {"a": [4]}
    progress = progress_of(str(tmp_path), later)
    assert progress.losses == 1
    assert "47.0 hours" in (progress.shards["a"].loss or "")


def test_an_old_position_whose_record_is_still_there_lost_nothing(stream: FakeStream, tmp_path: Path) -> None:
    offset = trimmed(stream, tmp_path)
    stream.numbers["a"], stream.ages = [1, 2, 4], {1: 2 * DAY, 2: 2 * DAY}
    one = reader(tmp_path)
    one.partitions(offset, offset)
    assert rows(one, one.latestOffset()) == {"a": [4]}


def test_an_idle_query_keeps_its_position_fresh(stream: FakeStream, tmp_path: Path) -> None:
    stream.add(Shard("a"), 1)
    one = reader(tmp_path)
    rows(one, one.latestOffset())
    for _ in range(12):
        stream.now += DAY / 6
        rows(one, one.latestOffset())
    stream.numbers["a"] = [2]
    assert rows(one, one.latestOffset()) == {"a": [2]}, "two idle days lose nothing"


def test_a_replay_whose_records_were_trimmed_is_data_loss(stream: FakeStream, tmp_path: Path) -> None:
    stream.add(Shard("a"), 1, 2, 3)
    one = reader(tmp_path)
    offset = one.latestOffset()
    rows(one, offset)
    stream.numbers["a"] = [2, 3, 4]
    with pytest.raises(DataLossError, match=r"3 records of shard a .* to 3, .*; found 2 of them"):
        rows(one, offset)


def test_a_batch_that_nobody_read_comes_again(stream: FakeStream, tmp_path: Path) -> None:
    stream.add(Shard("a"), 1, 2)
    one = reader(tmp_path)
    first = one.latestOffset()
    second = one.latestOffset()
    assert first != second
    assert rows(one, second) == {"a": [1, 2]}


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


def test_progress_tells_records_and_lag_by_shard(stream: FakeStream, tmp_path: Path) -> None:
    assert latest_progress(str(tmp_path)) is None
    stream.add(Shard("a"), 1, 2, 3, 4)
    stream.add(Shard("b"), 5)
    one = reader(tmp_path, max_records_per_shard=3, max_tasks=1)
    offset = one.latestOffset()
    rows(one, offset)
    progress = progress_of(str(tmp_path), json.dumps(offset))
    assert {shard: (told.records, told.millis_behind) for shard, told in progress.shards.items()} == {
        "a": (3, 3_600_000),
        "b": (1, 0),
    }
    assert (progress.records, progress.millis_behind, progress.losses) == (4, 3_600_000, 0)
    assert progress.shards["b"].size == len(b"record 5")
    assert latest_progress(str(tmp_path)) == progress
    assert json.loads(progress.to_json())["records"] == 4


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
        patch.setattr(KinesisStreamReader, "_client", lambda _self: FakeClient(fake))
        patch.setattr("time.time", lambda: fake.now)
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
