"""What bad events, and good ones in odd words, cost the task of a micro-batch: to judge them and to make its files.

CPU time of one process, without Spark and without S3, whose costs go by the bytes whatever is in them. The bad events
are plain ones that are spoiled in each of the producer's ways in turn, save the oversize ones, whose many bytes would
flatter the mix.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa

from benchmarks.ingest_streams import event
from lakehouse.events import INGEST_REASONS
from producers.malformed import MALFORMATIONS, Malformation
from streaming_jobs.outcome_files import OutcomeFiles
from streaming_jobs.parsing import PARSED, parse_batches

EVENTS: Final = 40_000
RECORDS_A_BATCH: Final = 10_000
ROUNDS: Final = 9
BAD_SHARES: Final = (5, 50, 100)
"""Per cent of the events that are bad."""
WAYS: Final = tuple(way for way in MALFORMATIONS if way.reason != "oversize")
WORDINGS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "plain": lambda data: data,
    "null": lambda data: data.replace(b'"ios"', b"null"),
    "spaced": lambda data: json.dumps(json.loads(data), separators=(" , ", " : ")).encode(),
    "beyond_ascii": lambda data: data.replace(b"s-", "é夜".encode()),
    "escaped": lambda data: data.replace(b"s-", rb"\"\\"),
    "unicode_escaped": lambda data: data.replace(b"s-", rb"\u00e9"),
    "offset_time": lambda data: data.replace(b'1Z"', b'1+02:00"'),
    "no_event_id": lambda data: b"{" + data.partition(b",")[2],
    "unknown_fields": lambda data: data[:-1] + b',"device":"model-7","queue":{"position":7,"shuffled":true}}',
}
"""Ways to word a good event."""


class _Nowhere:
    """Takes files and keeps none."""

    def put_object(self, **_: Any) -> dict[str, str]:
        return {"ETag": '"-"'}


def measure_bad_events() -> dict[str, float]:
    """Return what bad events add to good ones, and the microseconds of an event of each kind.

    `task_bad_over_good_N` is the CPU time of events of which N per cent are bad, over the time of good events of as
    many bytes. `bytes_over_good_N` is the same of the bytes that the task takes in and writes: a bad one is written in
    full, with what is wrong with it. Where the first is not more than the second, bad ones slow the good ones by no
    more than the bytes that they add. Medians of rounds, in which one follows the other.
    """
    good = [event(number) for number in range(EVENTS)]
    wordings = {name: list(map(wording, good)) for name, wording in WORDINGS.items()}
    oversize = {"oversize": spoiled(good[:1_000], [way for way in MALFORMATIONS if way.reason == "oversize"])}
    reasons = {reason: spoiled(good, [way for way in WAYS if way.reason == reason]) for reason in INGEST_REASONS}
    kinds = {name: _microseconds(events) for name, events in (wordings | reasons | oversize).items()}
    return {
        **{f"task_bad_over_good_{share}": _ratio(mixed(good, share), good) for share in BAD_SHARES},
        **{f"bytes_over_good_{share}": round(_bytes(mixed(good, share)) / _bytes(good), 3) for share in BAD_SHARES},
        **{f"us_{name}": round(value, 2) for name, value in kinds.items()},
    }


def mixed(good: list[bytes], share: int) -> list[bytes]:
    """Return good events, `share` per cent of them spoiled, evenly."""
    # A hundred neighbours have each remainder once.
    return [_spoil(data, place, WAYS) if place * 37 % 100 < share else data for place, data in enumerate(good)]


def spoiled(good: list[bytes], ways: Sequence[Malformation]) -> list[bytes]:
    """Return good events, each spoiled in one of the ways in turn; none where there is no way."""
    return [_spoil(data, place, ways) for place, data in enumerate(good)] if ways else []


def _spoil(data: bytes, place: int, ways: Sequence[Malformation]) -> bytes:
    return ways[place % len(ways)].apply(json.loads(data))


def _ratio(events: list[bytes], good: list[bytes]) -> float:
    added = sum(map(len, events)) / sum(map(len, good))
    with_bad, only_good = list(in_batches(events)), list(in_batches(good))
    return round(statistics.median(_spend(with_bad) / _spend(only_good) for _ in range(ROUNDS)) / added, 3)


def _bytes(events: list[bytes]) -> float:
    """Bytes taken in and written, for each byte of the events."""
    taken = sum(map(len, events))
    return (taken + write_outcome(in_batches(events))) / taken


def _microseconds(events: list[bytes]) -> float:
    batches = list(in_batches(events))
    return statistics.median(_spend(batches) for _ in range(ROUNDS)) / max(1, len(events)) * 1e6


def _spend(batches: list[pa.RecordBatch]) -> float:
    began = time.process_time()
    write_outcome(batches)
    return time.process_time() - began


def write_outcome(records: Iterable[pa.RecordBatch]) -> int:
    """Judge records and make the files of their outcome, as a task does, and return the bytes of those."""
    files = OutcomeFiles("nowhere", "generation=g/batch=1/", "attempt=1/")
    part = files.write(_Nowhere(), pa.Table.from_batches(parse_batches(records), PARSED))  # type: ignore[arg-type]
    return sum(file.size for file in part.listens + part.rejects)


def in_batches(events: list[bytes]) -> Iterator[pa.RecordBatch]:
    """Yield records of one event each, columns of `streaming_jobs.parsing.placed`."""
    arrived_at = datetime(2024, 6, 26, tzinfo=UTC)
    for first in range(0, len(events), RECORDS_A_BATCH):
        some = events[first : first + RECORDS_A_BATCH]
        columns = {
            "data": some,
            "stream": ["listens"] * len(some),
            "shard_id": ["shardId-000000000000"] * len(some),
            "sequence_number": [str(10**55 + first + place) for place in range(len(some))],
            "arrived_at": [arrived_at] * len(some),
        }
        yield pa.RecordBatch.from_arrays(
            [pa.array(values, PARSED.field(name).type) for name, values in columns.items()], names=list(columns)
        )
