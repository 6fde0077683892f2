"""Records that are gone before they are read: found, told with their times, and counted where that is wanted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streaming_jobs.kinesis_source.errors import DataLossError
from streaming_jobs.kinesis_source.offsets import Shard
from streaming_jobs.kinesis_source.progress import progress_of
from tests.unit.kinesis_fake import DAY, FakeStream, reader, rows, serve


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> FakeStream:
    return serve(FakeStream(), monkeypatch)


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
