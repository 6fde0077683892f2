"""What delivery costs beside the least that could be written: a loop over PutRecords with batches that are ready.

The loop has its events encoded before the clock starts, checks nothing and keeps nothing. Delivery makes and encodes
its events meanwhile, accounts for each, and measures. Both send to a fresh stream of the same emulator, in turn.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from datetime import date
from pathlib import Path
from typing import Any

from listenlake.connection import connect, producer_connect
from local_cloud import lifecycle
from producers.catalog import build_catalog
from producers.delivery import deliver
from producers.packing import AGGREGATE_BYTES, MAX_CALL_BYTES, MAX_CALL_RECORDS
from producers.profiles import build_schedule
from producers.records import Lanes
from producers.settings import DeliverySettings
from producers.shape import users_for
from producers.synthetic import SyntheticSettings, SyntheticStream
from producers.worker import Task

PLAIN_EVENTS = 60_000
AGGREGATED_EVENTS = 400_000
DATES = 3
SHARDS = 2
ROUNDS = 5
STREAM = "benchmark"
Call = list[dict[str, Any]]


def measure_delivering() -> dict[str, float]:
    """Return events a second, plain and aggregated, and the ratios to the loop; medians of alternating rounds."""
    catalog = build_catalog(1, users=users_for(AGGREGATED_EVENTS, DATES))
    with tempfile.TemporaryDirectory() as folder, lifecycle.up(Path(folder) / "cloud") as _:
        connection = connect(Path(folder) / "cloud")
        kinesis = connection.client("kinesis")
        task = Task(
            connect=producer_connect(connection),
            stream=STREAM,
            source=_make(catalog, PLAIN_EVENTS),
            schedule=build_schedule("constant", rate=None, duration_s=None, events=PLAIN_EVENTS),
            settings=DeliverySettings(),
            ledger_directory=Path(folder) / "ledger",
        )
        plain = _alternate(kinesis, task, _plain_calls(task.source))
        aggregated_task = Task(
            connect=task.connect,
            stream=STREAM,
            source=_make(catalog, AGGREGATED_EVENTS),
            schedule=build_schedule("constant", rate=None, duration_s=None, events=AGGREGATED_EVENTS),
            settings=DeliverySettings(aggregate_bytes=AGGREGATE_BYTES),
            ledger_directory=task.ledger_directory,
        )
        aggregated = _alternate(kinesis, aggregated_task, _aggregated_calls(aggregated_task.source))
    return {
        "deliver_plain_events_per_s": round(plain[0], 1),
        "deliver_aggregated_events_per_s": round(aggregated[0], 1),
        "deliver_ratio_plain": round(plain[1], 3),
        "deliver_ratio_aggregated": round(aggregated[1], 3),
        "aggregated_over_plain": round(aggregated[0] / plain[0], 2),
    }


def _make(catalog: Any, events: int) -> SyntheticStream:
    return SyntheticStream(catalog, SyntheticSettings(seed=1, events=events, start=date(2024, 6, 24), dates=DATES))


def _alternate(kinesis: Any, task: Task, calls: list[Call]) -> tuple[float, float]:
    """Return our median events a second, and its ratio to the loop's."""
    events = len(task.source)
    ours, theirs = [], []
    for _ in range(ROUNDS):
        _renew(kinesis)
        began = time.perf_counter()
        report = deliver(task, threading.Event())
        ours.append(report.acknowledged / report.seconds)
        if report.acknowledged != events or time.perf_counter() - began < report.seconds:
            raise AssertionError(f"expected {events} events acknowledged, found {report.acknowledged}")
        _renew(kinesis)
        began = time.perf_counter()
        for call in calls:
            answer = kinesis.put_records(StreamName=STREAM, Records=call)
            if answer["FailedRecordCount"]:
                raise AssertionError(f"expected no failed record, found {answer['FailedRecordCount']}")
        theirs.append(events / (time.perf_counter() - began))
    return statistics.median(ours), statistics.median(ours) / statistics.median(theirs)


def _renew(kinesis: Any) -> None:
    if STREAM in kinesis.list_streams()["StreamNames"]:
        kinesis.delete_stream(StreamName=STREAM)
        kinesis.get_waiter("stream_not_exists").wait(StreamName=STREAM, WaiterConfig={"Delay": 1})
    kinesis.create_stream(StreamName=STREAM, ShardCount=SHARDS)
    kinesis.get_waiter("stream_exists").wait(StreamName=STREAM, WaiterConfig={"Delay": 1})


def _plain_calls(source: Any) -> list[Call]:
    entries = [
        {"Data": payload, "PartitionKey": key}
        for chunk in source.chunks(Lanes())
        for payload, key in zip(chunk.payloads, chunk.keys, strict=True)
    ]
    return [entries[first : first + MAX_CALL_RECORDS] for first in range(0, len(entries), MAX_CALL_RECORDS)]


def _aggregated_calls(source: Any) -> list[Call]:
    """Join successive events, whoever's they are: the loop keeps no order within a key."""
    calls: list[Call] = [[]]
    lines: list[bytes] = []
    size = room = 0

    def close() -> None:
        nonlocal size, room
        if room + size > MAX_CALL_BYTES - 1_000 or len(calls[-1]) == MAX_CALL_RECORDS:
            calls.append([])
            room = 0
        calls[-1].append({"Data": b"\n".join(lines), "PartitionKey": f"key-{len(calls)}-{len(calls[-1])}"})
        room += size + 20
        lines.clear()
        size = 0

    for chunk in source.chunks(Lanes()):
        for payload in chunk.payloads:
            if lines and size + len(payload) >= AGGREGATE_BYTES:
                close()
            lines.append(payload)
            size += len(payload) + 1
    close()
    return calls
