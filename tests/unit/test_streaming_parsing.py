"""Payloads and what becomes of them: tables written by hand, and mutations that a second judge judges as well."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from typing import Final

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.events import INGEST_REASONS, MAX_CLOCK_SKEW, derive_event_id, split_events
from streaming_jobs.judging import Reject
from streaming_jobs.judging import judge as judge_alone
from streaming_jobs.parsing import PARSED, parse_batches
from tests.payloads import ACCEPTED, ARRIVED, REJECTED, Row, good, judge, padded

RECORDS: Final = pa.schema(
    [
        ("data", pa.binary()),
        ("stream", pa.string()),
        ("shard_id", pa.string()),
        ("sequence_number", pa.string()),
        ("arrived_at", pa.timestamp("us", tz="UTC")),
    ]
)


def parse(payloads: Iterable[bytes], *, rows_per_batch: int = 10_000) -> list[Row]:
    """Parse one record per payload; its sequence number is its position."""
    told = [
        {
            "data": payload,
            "stream": "listens",
            "shard_id": f"shard-{position % 3}",
            "sequence_number": str(position),
            "arrived_at": ARRIVED,
        }
        for position, payload in enumerate(payloads)
    ]
    batches = pa.Table.from_pylist(told, RECORDS).to_batches(max_chunksize=rows_per_batch)
    parsed = pa.Table.from_batches(parse_batches(batches), PARSED)
    rows: list[Row] = parsed.to_pylist(maps_as_pydicts="strict")
    return rows


@pytest.fixture(scope="module")
def outcome() -> dict[str, tuple[str, Row]]:
    """Every payload of the tables by name: `accepted` or the reason, and the row."""
    payloads = {name: payload for name, (payload, _) in (*ACCEPTED.items(), *REJECTED.items())}
    assert len(payloads) == len(ACCEPTED) + len(REJECTED)
    names = list(payloads)
    rows = parse(payloads.values())
    assert len(rows) == len(names)
    return {names[int(row["sequence_number"])]: (row["reject_reason"] or "accepted", row) for row in rows}


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(outcome: dict[str, tuple[str, Row]], name: str) -> None:
    result, row = outcome[name]
    assert result == "accepted", row
    expected = ACCEPTED[name][1]
    assert {field: row[field] for field in expected} == expected
    assert (row["stream"], row["line"], row["arrived_at"]) == ("listens", 1, ARRIVED)


@pytest.mark.parametrize("name", REJECTED)
def test_rejected(outcome: dict[str, tuple[str, Row]], name: str) -> None:
    result, row = outcome[name]
    payload, reason = REJECTED[name]
    assert result == reason
    assert row["reject_message"].startswith(INGEST_REASONS[reason])
    assert row["data"] == payload, "the payload is kept in full"
    assert (row["stream"], row["line"], row["arrived_at"]) == ("listens", 1, ARRIVED)


def test_every_reason_is_in_the_table() -> None:
    assert {reason for _, reason in REJECTED.values()} == set(INGEST_REASONS)


def test_messages_name_the_fields(outcome: dict[str, tuple[str, Row]]) -> None:
    assert outcome["no fields"][1]["reject_message"].endswith(": user_id, track_id, listen_time")
    assert outcome["user_id text"][1]["reject_message"].endswith(": user_id as STRING for BIGINT")


def test_an_event_without_id_gets_the_derived_one(outcome: dict[str, tuple[str, Row]]) -> None:
    for name in ("the least", "time east", "nanoseconds are cut off", "optional fields null"):
        row = outcome[name][1]
        assert row["event_id"] == derive_event_id(7, "t", row["listen_time"])


UNKNOWN: Final = {
    "city": 'M"ünchen\n',
    "n": 1.5,
    "big": 123_456_789_012_345_678_901,
    "o": {"a": [1, None, {"ß": "\\"}], "b": {}},
    "t": True,
    "z": None,
    "": "no name",
    "User_Id": "other case",
}


def test_unknown_fields_are_kept_as_json() -> None:
    [listen] = parse([good(**UNKNOWN, played_ms=5)])
    assert {name: json.loads(text) for name, text in listen["extra"].items()} == UNKNOWN


TOKENS: Final = (
    *(b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\n", b" ", b"0", b"9", b"-", b"+", b".", b"e", b"null"),
    *(b"NaN", b"'", b'""', b"\xff", "é".encode(), b'"x":', b"true", b"T", b"Z", b"24", b"60", b"29", b"-02-3"),
)


def mutate(payload: bytes, rng: random.Random) -> bytes:
    data = bytearray(payload)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        begin = rng.randrange(len(data) + 1)
        end = min(len(data), begin + rng.choice((0, 0, 1, 1, 2, 8)))
        piece = rng.choice((b"", rng.choice(TOKENS), bytes(data[begin:end]) * 2, bytes([rng.randrange(256)])))
        data[begin:end] = piece
    return bytes(data)


def test_a_hundred_thousand_mutations_are_each_good_or_rejected_and_keep_their_place() -> None:
    rng = random.Random(20_240_625)
    seeds = [payload for payload, _ in (*ACCEPTED.values(), *REJECTED.values()) if 10 < len(payload) < 400]
    lines = [good() + b"\n" + good(user_id=8), good() + b"\r\n" + good(platform="\u00e9") + b"\r\n"]
    payloads = [mutate(rng.choice(seeds), rng) for _ in range(95_000)] + [
        mutate(rng.choice(lines), rng) for _ in range(5_000)
    ]
    rows = parse(payloads)
    outcomes = {(int(row["sequence_number"]), row["line"]): row["reject_reason"] or "accepted" for row in rows}
    assert len(rows) == len(outcomes)
    assert all(row["shard_id"] == f"shard-{int(row['sequence_number']) % 3}" for row in rows)
    events = {(place, line): data for place, record in enumerate(payloads) for line, data in split_events(record)}
    expected = {place: judge(data) for place, data in events.items()}
    alone = {place: judge_alone(data, ARRIVED + MAX_CLOCK_SKEW) for place, data in events.items()}
    assert {place: one.reason if isinstance(one, Reject) else "accepted" for place, one in alone.items()} == expected
    assert outcomes.keys() == expected.keys()
    assert len(events) > len(payloads) + 3_000
    assert len(set(expected.values())) >= 6, "the mutations are too tame to tell anything"
    differing = {p: (events[p], expected[p], outcomes[p]) for p in outcomes if outcomes[p] != expected[p]}
    assert differing == {}


# -- many events in one record ----------------------------------------------------------------------------------------

LINES: Final[dict[str, tuple[bytes, list[tuple[int, bytes]]]]] = {
    "two lines": (good() + b"\n" + good(user_id=8), [(1, good()), (2, good(user_id=8))]),
    "a line feed after the last": (good() + b"\n" + good() + b"\n", [(1, good()), (2, good())]),
    "carriage returns": (b"\r\n".join([good(), good(), b"x", b""]), [(1, good()), (2, good()), (3, b"x")]),
    "a carriage return at the end": (good() + b"\n" + good() + b"\r", [(1, good()), (2, good())]),
    "only one carriage return is dropped": (
        good() + b"\n" + good() + b"\nx\r\r\n",
        [(1, good()), (2, good()), (3, b"x\r")],
    ),
    "a carriage return inside": (good() + b"\n{}\r{}", [(1, good()), (2, b"{}\r{}")]),
    "empty lines count and are no events": (
        b"\n\r\n" + good() + b"\n\n\r\n" + good() + b"\n" + good(),
        [(3, good()), (6, good()), (7, good())],
    ),
    "blanks are an event": (good() + b"\n" + good() + b"\n \n", [(1, good()), (2, good()), (3, b" ")]),
    "every byte there is": (
        good() + b"\n" + good() + b"\n" + bytes(set(range(256)) - {10}) + b"\n" + bytes(range(11, 256)),
        [(1, good()), (2, good()), (3, bytes(set(range(256)) - {10})), (4, bytes(range(11, 256)))],
    ),
    "half of a character on each line": (
        good() + b"\n{" + "é".encode()[:1] + b"\n" + "é".encode()[1:] + b"}\n" + good(platform="夜🎧"),
        [(1, good()), (2, b"{\xc3"), (3, b"\xa9}"), (4, good(platform="夜🎧"))],
    ),
    "64 KiB is a limit of events": (
        padded(65_536) + b"\n" + padded(65_537) + b"\r\n" + padded(65_536) + b"\r\n",
        [(1, padded(65_536)), (2, padded(65_537)), (3, padded(65_536))],
    ),
    "a record of one event is taken as it is": (b"\n" + good() + b"\r\n\n", [(1, b"\n" + good() + b"\r\n\n")]),
}
"""Record, and its events by line."""


@pytest.fixture(scope="module")
def split() -> dict[str, list[Row]]:
    """Every record of the table: the rows of its events, by line."""
    names = list(LINES)
    found: dict[str, list[Row]] = {name: [] for name in names}
    for row in parse(record for record, _ in LINES.values()):
        found[names[int(row["sequence_number"])]].append(row)
    return {name: sorted(rows, key=lambda row: row["line"]) for name, rows in found.items()}


@pytest.mark.parametrize("name", LINES)
def test_a_record_of_lines_is_as_many_events_and_each_is_judged_for_itself(
    split: dict[str, list[Row]], name: str
) -> None:
    record, events = LINES[name]
    assert events == split_events(record)
    assert [(row["line"], row["payload_bytes"]) for row in split[name]] == [(line, len(data)) for line, data in events]
    limits = {padded(65_537): "oversize"}
    expected = [limits.get(data, judge(data)) for _, data in events]
    assert [row["reject_reason"] or "accepted" for row in split[name]] == expected
    assert [row["data"] for row in split[name] if row["reject_reason"]] == [
        data for (_, data), reason in zip(events, expected, strict=True) if reason != "accepted"
    ]
    assert {row["shard_id"] for row in split[name]} == {f"shard-{list(LINES).index(name) % 3}"}


def test_a_line_is_kept_as_it_came_and_rejected_alone() -> None:
    bad = good(platform="?").replace(b"?", b"\xff\xfe\x00")
    rows = parse([b"\n".join([good(user_id=1), bad, good(user_id=3), b"{", good(user_id=5)])])
    listens = [row for row in rows if row["reject_reason"] is None]
    assert sorted((row["user_id"], row["line"], row["data"]) for row in listens) == [
        (1, 1, None),
        (3, 3, None),
        (5, 5, None),
    ]
    rejects = sorted((row["line"], row["reject_reason"], row["data"]) for row in rows if row["reject_reason"])
    assert rejects == [(2, "invalid_utf8", bad), (4, "invalid_json", b"{")]
    assert {row["sequence_number"] for row in rows} == {"0"}


@pytest.mark.parametrize("filler", [b"\n", b"\r\n", b"{}\n"])
def test_a_record_of_a_megabyte_of_lines(filler: bytes) -> None:
    record = good() + b"\n" + good() + b"\n" + filler * ((2**20 - 300) // len(filler)) + good()
    last = record.count(b"\n") + 1
    lines: dict[str | None, list[int]] = {}
    for row in parse([record]):
        lines.setdefault(row["reject_reason"], []).append(row["line"])
    expected: dict[str | None, list[int]] = {None: [1, 2, last]}
    if filler == b"{}\n":
        expected["missing_field"] = list(range(3, last))
    assert {reason: sorted(found) for reason, found in lines.items()} == expected


@settings(max_examples=6, deadline=None)
@given(
    batch=st.lists(
        st.lists(
            st.sampled_from([b"}", b"{", b"\n", b"\r", b"}\n{", b"}\r\n{", b"x", b"\xff", b"\xc3", b"\x00", b" "]),
            max_size=12,
        ).map(b"".join),
        min_size=100,
        max_size=300,
    )
)
def test_any_bytes_are_split_as_plain_python_splits_them(batch: list[bytes]) -> None:
    found = {(int(row["sequence_number"]), row["line"]): row["data"] for row in parse(batch, rows_per_batch=64)}
    assert found == {(place, line): data for place, record in enumerate(batch) for line, data in split_events(record)}


def test_nothing_comes_of_nothing() -> None:
    assert parse([]) == []
    assert list(parse_batches([pa.RecordBatch.from_pylist([], RECORDS)])) == []


def test_large_batches_are_judged_in_parts() -> None:
    record = b"\n".join([good()] * 30_000)
    rows = parse([record] * 3)
    assert len(rows) == 90_000
    assert {(int(row["sequence_number"]), row["line"]) for row in rows} == {
        (place, line) for place in range(3) for line in range(1, 30_001)
    }


def test_small_batches_are_judged_together_up_to_a_limit() -> None:
    told = {"stream": "s", "shard_id": "x", "sequence_number": "1", "arrived_at": ARRIVED}
    small, large = [pa.RecordBatch.from_pylist([told | {"data": good() * count}], RECORDS) for count in (1, 120_000)]
    assert [len(some) for some in parse_batches([small] * 50) if len(some)] == [50]
    assert [len(some) for some in parse_batches([small, large, small, small]) if len(some)] == [1, 1, 2]


SURROGATES: Final = {r"\ud83c\udfa7": "accepted", r"\ud83c": "invalid_json", r"\udfa7 \ud83c": "invalid_json"}


@pytest.mark.parametrize("escaped", SURROGATES)
def test_half_a_surrogate_pair_is_no_text(escaped: str) -> None:
    for name in ("platform", "note"):
        [row] = parse([good(**{name: "?"}).replace(b"?", escaped.encode())])
        assert (row["reject_reason"] or "accepted") == SURROGATES[escaped]


def test_numbers_of_unknown_fields_stay_as_they_were_written() -> None:
    written = {"exact": "0.1000000000000000000001", "large": "1e400", "long": "9" * 5_000, "many": '[1.50,{"a":-0.0}]'}
    payload = good()[:-1] + "".join(f',"{name}":{text}' for name, text in written.items()).encode() + b"}"
    [row] = parse([payload])
    assert row["extra"] == written


def test_whatever_the_depth_an_event_is_judged() -> None:
    depths = range(10, 2_000, 45)
    rows = parse(good(deep="?").replace(b'"?"', b"[" * depth + b"]" * depth) for depth in depths)
    assert {row["reject_reason"] for row in rows} == {None, "invalid_json"}
    assert len(rows) == len(depths)
