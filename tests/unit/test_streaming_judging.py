"""One judge of truth: an event that is judged at once with others has the outcome that it has by itself."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.events import EVENT_ID_NAMESPACE, FIELDS, MAX_CLOCK_SKEW, derive_event_id
from streaming_jobs.judging import Reject, judge
from streaming_jobs.parsing import PARSED, judge_events
from streaming_jobs.plain_events import judge_plain
from tests import payloads
from tests.payloads import ACCEPTED, ARRIVED, GOOD, REJECTED, TIME, Row, good

LATEST: Final = ARRIVED + MAX_CLOCK_SKEW
TOLD: Final = (*FIELDS, "extra", "reject_reason", "reject_message")
EVENTS: Final = pa.schema(
    [PARSED.field(name) for name in ("data", "payload_bytes", "stream", "shard_id", "sequence_number", "line")]
    + [PARSED.field("arrived_at")]
)


def at_once(events: list[bytes]) -> list[Row]:
    """What becomes of events in one batch, in order."""
    rows = [
        {"data": data, "sequence_number": str(place), "arrived_at": ARRIVED, "payload_bytes": len(data)}
        for place, data in enumerate(events)
    ]
    judged = judge_events(pa.Table.from_pylist(rows, EVENTS)).to_pylist(maps_as_pydicts="strict")
    judged.sort(key=lambda row: int(row["sequence_number"]))
    assert [row["sequence_number"] for row in judged] == [row["sequence_number"] for row in rows]
    return [{name: row[name] for name in TOLD} for row in judged]


def alone(data: bytes) -> Row:
    """What becomes of an event that is judged by itself."""
    verdict = judge(data, LATEST)
    if isinstance(verdict, Reject):
        reason, message, event_id = verdict
        return dict.fromkeys(TOLD) | {"reject_reason": reason, "reject_message": message, "event_id": event_id}
    return dict(zip(TOLD, (*verdict, None, None), strict=True))


TABLES: Final = {name: payload for name, (payload, _) in (*ACCEPTED.items(), *REJECTED.items())}


def test_the_tables_events_have_one_outcome_in_a_batch_and_alone() -> None:
    events = list(TABLES.values())
    assert at_once(events) == [alone(data) for data in events]


@pytest.mark.parametrize("name", TABLES)
def test_an_event_by_itself_has_the_outcome_of_the_table(name: str) -> None:
    assert alone(TABLES[name])["reject_reason"] == (REJECTED[name][1] if name in REJECTED else None)


BLANKS: Final = st.sampled_from(["", "", "", " ", "  ", "\n", "\t", "\r"])
TEXTS: Final = st.sampled_from(
    (
        *('""', '"t"', '":"', '"a:b:c"', '"é夜🎧"', '"\x7f"', '"a\tb"', "'t'", f'"{"x" * 64}"', f'"{"é" * 64}"'),
        *(f'"{"x" * 65}"', r'"\""', r'"\\"', r'"\\u003a"', r'"\u003a"', r'"\ud83c\udfa7"', r'"\/\n"', r'"\x"'),
    )
)
TIMES: Final = st.sampled_from(
    (
        *(TIME, "2024-06-25 17:43:13", "2024-06-25T19:43:13.5+02:00", "2024-02-29T00:00:00Z", "2023-02-29T00:00:00Z"),
        *("1999-12-31T23:59:59Z", "2024-06-26T18:00:00.000001Z", "2999-01-01T00:00:00", "yesterday", "2024-06-25"),
    )
).map(json.dumps)
NUMBERS: Final = st.sampled_from(
    [
        "7",
        "0",
        "-1",
        "-0",
        "01",
        "1.0",
        "1e3",
        "9" * 18,
        str(2**63 - 1),
        str(2**63),
        str(-(2**63)),
        "9" * 25,
        "NaN",
        "-",
    ]
)
OTHERS: Final = st.sampled_from(
    ["null", "true", "false", "[]", "{}", '[1,{"a":[":"]}]', '{"a":1,"b":{"c":null}}', '{"a":1,"a":1}', '{"a:":1.50}']
)
NAMES: Final = st.sampled_from([*FIELDS, *FIELDS, "x", "a:b", "", "Track_ID", "é", r"user\u005fid", r"\"user_id\":"])
VALUES: Final = st.one_of(TEXTS, TIMES, NUMBERS, OTHERS)


@st.composite
def worded(draw: st.DrawFn) -> bytes:
    """An event as no producer would word it, its required fields mostly there and right."""
    chance = st.integers(0, 9)
    members = [
        (name, draw(VALUES) if draw(chance) == 0 else json.dumps(value))
        for name, value in GOOD.items()
        if draw(chance) > 0
    ]
    members += draw(st.lists(st.tuples(NAMES, VALUES), max_size=3))
    texts = [
        f'{draw(BLANKS)}"{name}"{draw(BLANKS)}:{draw(BLANKS)}{value}{draw(BLANKS)}'
        for name, value in draw(st.permutations(members))
    ]
    ending = draw(st.sampled_from(["}", "}", "}", "}", "}\n", "} ", "}}", "", "},", "]"]))
    return f"{draw(BLANKS)}{{{','.join(texts)}{ending}".encode()


@settings(max_examples=60, deadline=None)
@given(events=st.lists(worded(), min_size=20, max_size=60))
def test_however_it_is_worded_an_event_has_one_outcome(events: list[bytes]) -> None:
    together, apart = at_once(events), [alone(data) for data in events]
    for data, one, other in zip(events, together, apart, strict=True):
        assert (data, one) == (data, other)
        assert (data, one["reject_reason"] or "accepted") == (data, payloads.judge(data))


SHORT_WAY: Final = {
    "nothing": b"{}",
    "optional null": good(platform=None, event_id="e"),
    "spaced": b'{ "user_id" : 7 , "track_id" : "t" , "listen_time" : "2024-06-25T17:43:13Z" } \n',
    "beyond ASCII": good(platform="é夜🎧"),
    "escaped": good(platform='"\\\n'),
    "offset": good(listen_time="2024-06-25T19:43:13+02:00"),
    "missing": good(user_id=None),
    "invalid value": good(track_id=""),
    "no time": good(listen_time="yesterday"),
    "impossible": good(listen_time="2999-01-01T00:00:00Z"),
}
WHY_NOT: Final = ["missing_field", "missing_field", "invalid_value", "invalid_time", "impossible_time"]
LONG_WAY: Final = {"mistyped": good(user_id="7"), "unknown": good(x=1), "twice": good()[:-1] + b',"user_id":8}'}


def test_what_is_common_takes_the_short_way_whatever_stands_beside_it() -> None:
    ways: dict[bytes, bool] = dict.fromkeys(SHORT_WAY.values(), True) | dict.fromkeys(LONG_WAY.values(), False)
    arrived_at = pa.array([ARRIVED] * len(ways), PARSED.field("arrived_at").type)
    plain = judge_plain(pa.array(list(ways), pa.binary()), arrived_at)
    assert pc.or_(plain.is_listen, plain.is_reject).to_pylist() == list(ways.values())
    assert plain.rejects["reject_reason"].to_pylist() == WHY_NOT


@given(
    user_id=st.integers(-(2**63), 2**63 - 1),
    track_id=st.text(st.characters(codec="utf-8"), min_size=1, max_size=64),
    listen_time=st.datetimes(datetime(2000, 1, 1), datetime(2024, 6, 26), timezones=st.just(UTC)),  # noqa: DTZ001 - naive bounds
)
@settings(deadline=None)
def test_a_derived_id_is_a_uuid_of_version_5_on_both_ways(user_id: int, track_id: str, listen_time: datetime) -> None:
    stamp = listen_time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    expected = str(uuid.uuid5(EVENT_ID_NAMESPACE, f"{user_id}|{track_id}|{stamp}"))
    event: dict[str, Any] = {"user_id": user_id, "track_id": track_id, "listen_time": stamp}
    [short, long] = at_once([good(**event), good(**event, x=1)])
    assert [short["event_id"], long["event_id"], derive_event_id(user_id, track_id, listen_time)] == [expected] * 3


WRITTEN_TIMES: Final = st.from_regex(
    r"(000[0-4]|1999|20[0-2][0-9]|9999)-(0[0-9]|1[0-3])-([0-2][0-9]|3[0-2])[T ]([01][0-9]|2[0-4])"
    r":[0-5][0-9]:([0-5][0-9]|60)([.][0-9]{1,9})?(Z|[+-](0[0-9]|1[0-9]):[0-6][0-9])?",
    fullmatch=True,
    alphabet=st.characters(codec="ascii"),
)


@given(texts=st.lists(WRITTEN_TIMES, min_size=20, max_size=100))
@settings(deadline=None, max_examples=20)
def test_times_are_read_as_another_judge_reads_them(texts: list[str]) -> None:
    found = at_once([good(listen_time=text) for text in texts])
    for text, row in zip(texts, found, strict=True):
        assert (row["reject_reason"] or "accepted", text) == (payloads.judge(good(listen_time=text)), text)
        assert row == alone(good(listen_time=text))
