"""Batches of the reader: each record once, up to the caps, with the progress they tell."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streaming_jobs.kinesis_source.offsets import Shard
from streaming_jobs.kinesis_source.progress import latest_progress, progress_of
from tests.unit.kinesis_fake import FakeStream, drain, reader, rows, serve


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> FakeStream:
    return serve(FakeStream(), monkeypatch)


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
