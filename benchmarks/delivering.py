"""What delivery costs beside the least that could be written: a loop over PutRecords with batches that are ready.

The loop checks nothing and keeps nothing; its batches are built before the clock starts. Delivery takes events that are
encoded before the clock starts too, packs them, accounts for each and measures. `produce` is the same delivery with the
events made and encoded meanwhile, in the same process. All send to a fresh stream of the same emulator, in turn.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

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

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from producers.records import Chunk, Source

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
        aggregated_task = replace(
            task,
            source=_make(catalog, AGGREGATED_EVENTS),
            schedule=build_schedule("constant", rate=None, duration_s=None, events=AGGREGATED_EVENTS),
            settings=DeliverySettings(aggregate_bytes=AGGREGATE_BYTES),
        )
        aggregated = _alternate(kinesis, aggregated_task, _aggregated_calls(aggregated_task.source))
    return {
        **_figures("plain", plain),
        **_figures("aggregated", aggregated),
        "aggregated_over_plain": round(aggregated.delivered / plain.delivered, 2),
    }


class Rates(NamedTuple):
    """Events a second, medians: events ready before the clock starts, made meanwhile, and the loop's."""

    delivered: float
    produced: float
    loop: float


class Ready:
    """A source whose events are made before they are asked for."""

    def __init__(self, source: Source, lanes: Lanes) -> None:
        """Make the events of these lanes."""
        self._source = source
        self._lanes = lanes
        self._chunks = list(source.chunks(lanes))

    def __len__(self) -> int:
        """Number of events."""
        return len(self._source)

    def chunks(self, lanes: Lanes) -> Iterator[Chunk]:
        """Yield what was made."""
        if lanes != self._lanes:
            raise AssertionError(f"expected to be asked for {self._lanes}, found {lanes}")
        return iter(self._chunks)

    def facts(self) -> pa.Table:
        """Return the facts of the source."""
        return self._source.facts()


def _figures(layout: str, rates: Rates) -> dict[str, float]:
    return {
        f"deliver_{layout}_events_per_s": round(rates.delivered, 1),
        f"deliver_ratio_{layout}": round(rates.delivered / rates.loop, 3),
        f"produce_{layout}_events_per_s": round(rates.produced, 1),
        f"produce_ratio_{layout}": round(rates.produced / rates.loop, 3),
    }


def _make(catalog: Any, events: int) -> SyntheticStream:
    return SyntheticStream(catalog, SyntheticSettings(seed=1, events=events, start=date(2024, 6, 24), dates=DATES))


def _alternate(kinesis: Any, task: Task, calls: list[Call]) -> Rates:
    """Return the medians of alternating rounds."""
    ready = replace(task, source=Ready(task.source, task.lanes_of(0)))
    rounds = [
        Rates(_deliver(kinesis, ready), _deliver(kinesis, task), _loop(kinesis, task, calls)) for _ in range(ROUNDS)
    ]
    return Rates(*map(statistics.median, zip(*rounds, strict=True)))


def _deliver(kinesis: Any, task: Task) -> float:
    events = len(task.source)
    _renew(kinesis)
    began = time.perf_counter()
    report = deliver(task, threading.Event())
    if report.acknowledged != events or time.perf_counter() - began < report.seconds:
        raise AssertionError(f"expected {events} events acknowledged, found {report.acknowledged}")
    return report.acknowledged / report.seconds


def _loop(kinesis: Any, task: Task, calls: list[Call]) -> float:
    _renew(kinesis)
    began = time.perf_counter()
    for call in calls:
        answer = kinesis.put_records(StreamName=STREAM, Records=call)
        if answer["FailedRecordCount"]:
            raise AssertionError(f"expected no failed record, found {answer['FailedRecordCount']}")
    return len(task.source) / (time.perf_counter() - began)


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
