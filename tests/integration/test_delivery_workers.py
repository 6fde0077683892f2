"""Several worker processes on the local cloud's Kinesis: the same bytes, every key in order, an account of a death."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lakehouse.events import split_events
from local_cloud.clients import make_client
from local_cloud.cloud import Cloud
from producers.catalog import build_catalog
from producers.delivery import deliver
from producers.errors import DeliveryError
from producers.profiles import build_schedule
from producers.records import Lanes
from producers.settings import DeliverySettings
from producers.synthetic import SyntheticSettings, SyntheticStream
from producers.worker import Task

EVENTS = 6_000
START = date(2024, 6, 24)
Position = tuple[str, str, int]


@pytest.fixture
def stream(cloud: Cloud) -> Iterator[str]:
    """A stream of two shards that no other test uses."""
    kinesis = cloud.client("kinesis")
    name = f"workers-{time.monotonic_ns()}"
    kinesis.create_stream(StreamName=name, ShardCount=2)
    kinesis.get_waiter("stream_exists").wait(StreamName=name, WaiterConfig={"Delay": 1})
    yield name
    kinesis.delete_stream(StreamName=name)


@pytest.fixture(scope="module")
def source() -> SyntheticStream:
    """A few thousand events."""
    return SyntheticStream(build_catalog(1), SyntheticSettings(seed=5, events=EVENTS, start=START))


def make_task(cloud: Cloud, stream: str, source: SyntheticStream, folder: Path, rate: float | None, **how: Any) -> Task:
    return Task(
        connect=partial(make_client, "kinesis", cloud.client("kinesis").meta.endpoint_url),
        stream=stream,
        source=source,
        schedule=build_schedule("constant", rate=rate, duration_s=None, events=EVENTS),
        settings=DeliverySettings(workers=2, concurrency=2, **how),
        ledger_directory=folder / "ledger",
    )


def read_stream(kinesis: Any, stream: str) -> dict[Position, bytes]:
    """Return every event of a stream by position, each shard's in order."""
    found: dict[Position, bytes] = {}
    for shard in kinesis.list_shards(StreamName=stream)["Shards"]:
        name = shard["ShardId"]
        iterator = kinesis.get_shard_iterator(StreamName=stream, ShardId=name, ShardIteratorType="TRIM_HORIZON")
        token = iterator["ShardIterator"]
        records: list[dict[str, Any]] = [{}]
        while records:
            answer = kinesis.get_records(ShardIterator=token, Limit=1_000)
            token, records = answer["NextShardIterator"], answer["Records"]
            for record in records:
                for line, event in split_events(record["Data"]):
                    found[name, record["SequenceNumber"], line] = event
    return found


def places(ledger: Any) -> dict[int, Position]:
    columns = [ledger[name].to_pylist() for name in ("position", "shard_id", "sequence_number", "line")]
    return {place: (shard, number, line) for place, shard, number, line in zip(*columns, strict=True) if shard}


@pytest.mark.parametrize("how", [{}, {"aggregate_bytes": 5_000}], ids=["plain", "aggregated"])
def test_workers_send_the_bytes_of_one_and_keep_the_order_of_each_key(
    cloud: Cloud, stream: str, source: SyntheticStream, tmp_path: Path, how: dict[str, Any]
) -> None:
    report = deliver(make_task(cloud, stream, source, tmp_path, None, **how), threading.Event())
    assert report.acknowledged == report.made == EVENTS
    assert multiprocessing.active_children() == []
    kept = read_stream(cloud.client("kinesis"), stream)
    assert len(kept) == EVENTS
    chunk_of_all = list(source.chunks(Lanes()))
    payloads = [payload for chunk in chunk_of_all for payload in chunk.payloads]
    keys = [key for chunk in chunk_of_all for key in chunk.keys]
    placed = places(report.ledger)
    assert {place: kept[where] for place, where in placed.items()} == dict(enumerate(payloads))
    position_at = {where: place for place, where in placed.items()}
    last: dict[tuple[str, str], int] = {}
    for where in kept:
        position = position_at[where]
        user = (where[0], keys[position])
        assert position > last.get(user, -1)
        last[user] = position
    assert len({key: shard for shard, key in last}) == len(last), "a key went to two shards"


def test_a_worker_that_is_killed_ends_the_delivery_with_its_account(
    cloud: Cloud, stream: str, source: SyntheticStream, tmp_path: Path
) -> None:
    task = make_task(cloud, stream, source, tmp_path, 600.0)
    killed: list[int] = []

    def kill_one(progress: Any) -> None:
        if not killed and progress.snapshot.totals.acknowledged > 600:
            victim = multiprocessing.active_children()[0].pid
            assert victim is not None
            killed.append(victim)
            os.kill(victim, signal.SIGKILL)

    with pytest.raises(
        DeliveryError, match=r"found its process ended with code -9: \d+ of \d+ events taken up"
    ) as ended:
        deliver(task, threading.Event(), kill_one)
    assert multiprocessing.active_children() == []
    report = ended.value.report
    assert 0 < report.acknowledged < EVENTS
    kept = read_stream(cloud.client("kinesis"), stream)
    # What the dead worker had not written down stands in the stream, unsaid; nothing is said that is not there.
    assert set(places(report.ledger).values()) <= kept.keys()
