"""Payloads and what becomes of them: hand-written tables, and thousands of mutations judged by plain Python as well."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import functions as F

from lakehouse.events import INGEST_REASONS, derive_event_id, event_id_sql, split_events
from producers.judgement import TIME_PATTERN
from streaming_jobs.parsing import accepted_listens, parse_records, rejected_records

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

Row = dict[str, Any]

ARRIVED: Final = datetime(2024, 6, 25, 18, 0, 0, tzinfo=UTC)
TIME: Final = "2024-06-25T17:43:13Z"
GOOD: Final = {"user_id": 7, "track_id": "t", "listen_time": TIME}
MOMENT: Final = datetime(2024, 6, 25, 17, 43, 13, tzinfo=UTC)
RECORDS: Final = pa.schema(
    [
        ("data", pa.binary()),
        ("streamName", pa.string()),
        ("shardId", pa.string()),
        ("partitionKey", pa.string()),
        ("sequenceNumber", pa.string()),
        ("approximateArrivalTimestamp", pa.timestamp("us", tz="UTC")),
    ]
)


def good(**fields: Any) -> bytes:
    return json.dumps(GOOD | fields, ensure_ascii=False).encode()


def padded(size: int) -> bytes:
    overhead = len(good(note=""))
    return good(note="x" * (size - overhead))


def at(text: str) -> bytes:
    return good(listen_time=text)


def raw(text: str) -> bytes:
    """The good event with `text` in place of its closing brace."""
    return json.dumps(GOOD).encode()[:-1] + text.encode()


ACCEPTED: Final[dict[str, tuple[bytes, Row]]] = {
    "the least": (good(), {"user_id": 7, "track_id": "t", "listen_time": MOMENT, "extra": None}),
    "all fields": (
        good(event_id="e", schema_version=1, played_ms=30_000, platform="ios", session_id="s"),
        {"event_id": "e", "schema_version": 1, "played_ms": 30_000, "platform": "ios", "session_id": "s"},
    ),
    "optional fields null": (good(event_id=None, played_ms=None, platform=None), {"played_ms": None, "platform": None}),
    "white space around": (b" \r\n\t" + good() + b"\n", {"user_id": 7}),
    "exactly 64 KiB": (padded(65_536), {"user_id": 7}),
    "time with a space": (at("2024-06-25 17:43:13"), {"listen_time": MOMENT}),
    "time with T and no offset is UTC": (at("2024-06-25T17:43:13"), {"listen_time": MOMENT}),
    "time east": (at("2024-06-25T19:43:13+02:00"), {"listen_time": MOMENT}),
    "time west": (at("2024-06-25 13:13:13-04:30"), {"listen_time": MOMENT}),
    "time farthest east": (at("2024-06-26T11:43:13+18:00"), {"listen_time": MOMENT}),
    "time farthest west": (at("2024-06-24T23:43:13-18:00"), {"listen_time": MOMENT}),
    "a tenth": (at("2024-06-25T17:43:13.5Z"), {"listen_time": MOMENT + timedelta(microseconds=500_000)}),
    "nanoseconds are cut off": (
        at("2024-06-25T17:43:13.123456999+00:00"),
        {"listen_time": MOMENT + timedelta(microseconds=123_456)},
    ),
    "leap day": (at("2024-02-29T00:00:00Z"), {"listen_time": datetime(2024, 2, 29, tzinfo=UTC)}),
    "first moment": (at("2000-01-01T00:00:00Z"), {"listen_time": datetime(2000, 1, 1, tzinfo=UTC)}),
    "a day after arrival": (at("2024-06-26T18:00:00Z"), {"listen_time": ARRIVED + timedelta(days=1)}),
    "track_id of 64": (good(track_id="x" * 64), {"track_id": "x" * 64}),
    "track_id of 64 characters in many bytes": (good(track_id="é夜🎧x" * 16), {"track_id": "é夜🎧x" * 16}),
    "event_id of 64": (good(event_id="ü" * 64), {"event_id": "ü" * 64}),
    "largest user": (good(user_id=2**63 - 1), {"user_id": 2**63 - 1}),
    "least user": (good(user_id=-(2**63)), {"user_id": -(2**63)}),
    "escapes": (good(track_id='a"\\\n\u0001').replace(b"t", b"\\u0074", 1), {"track_id": 'a"\\\n\u0001'}),
    "blank track_id is text": (good(track_id=" "), {"track_id": " "}),
    "a sentinel of the pipeline's own": (good(**{"listenlake:end": 0}), {"user_id": 7}),
    "over many lines": (
        json.dumps(GOOD | {"o": [{}, {"a": {}}, {}]}, indent=0).replace("\n", "\r\n").encode() + b"\n",
        {"user_id": 7},
    ),
    "a text that begins with a colon": (good(platform=":x"), {"platform": ":x"}),
    "no white space": (json.dumps(GOOD, separators=(",", ":")).encode(), {"user_id": 7}),
    "optional first": (b'{"platform":"ios","played_ms":0,' + good()[1:], {"platform": "ios", "played_ms": 0}),
    "minus zero": (good(played_ms="?").replace(b'"?"', b"-0"), {"played_ms": 0}),
    "an object on each line in a text": (good(platform="{}\n{}"), {"platform": "{}\n{}"}),
}
"""Payload and some of the values that must come out."""

REJECTED: Final[dict[str, tuple[bytes, str]]] = {
    "64 KiB and one byte": (padded(65_537), "oversize"),
    "oversize and no UTF-8": (b"\xff" * 65_537, "oversize"),
    "stray byte": (good().replace(b":", b":\xff", 1), "invalid_utf8"),
    "overlong encoding": (good(platform="?").replace(b"?", b"\xc0\xaf"), "invalid_utf8"),
    "encoded surrogate": (good(platform="?").replace(b"?", b"\xed\xa0\x80"), "invalid_utf8"),
    "beyond Unicode": (good(platform="?").replace(b"?", b"\xf4\x90\x80\x80"), "invalid_utf8"),
    "cut inside a character": (good(platform="é").split(b"\xa9")[0], "invalid_utf8"),
    "nothing": (b"", "invalid_json"),
    "white space": (b" \n", "invalid_json"),
    "null": (b"null", "invalid_json"),
    "number": (b"5", "invalid_json"),
    "text": (b'"text"', "invalid_json"),
    "array": (b"[" + good() + b"]", "invalid_json"),
    "empty array": (b"[]", "invalid_json"),
    "cut off": (good()[:-1], "invalid_json"),
    "trailing letter": (good() + b"x", "invalid_json"),
    "trailing brace": (good() + b"}", "invalid_json"),
    "trailing bracket": (good() + b"]", "invalid_json"),
    "trailing comma": (good() + b",", "invalid_json"),
    "comma inside": (raw(",}"), "invalid_json"),
    "two objects": (good() + good(), "invalid_json"),
    "two objects with a comma": (good() + b"," + good(), "invalid_json"),
    "two objects with a space": (good() + b" " + good(), "invalid_json"),
    "two objects with a carriage return": (good() + b"\r" + good(), "invalid_json"),
    "two objects with a blank line": (good() + b"\n\n" + good(), "invalid_json"),
    "two objects with two carriage returns": (good() + b"\r\r\n" + good(), "invalid_json"),
    "an object and a text on two lines": (good() + b'\n"text"', "invalid_json"),
    "an object closed by a sentinel": (good() + b',{"listenlake:end":0}]', "invalid_json"),
    "an object closed by its sentinel": (
        good() + f',{{"listenlake:end:{hashlib.sha1(good()).hexdigest()}":0}}]'.encode(),  # noqa: S324 - no secret
        "invalid_json",
    ),
    "an object and a sentinel": (good() + b',{"listenlake:end":0}', "invalid_json"),
    "known name twice": (raw(',"user_id":8}'), "invalid_json"),
    "unknown name twice": (raw(',"x":1,"x":1}'), "invalid_json"),
    "known name twice, another absent": (
        b'{"user_id":1,"track_id":"t","track_id":"t","listen_time":"2024-06-25T17:43:13Z"}',
        "invalid_json",
    ),
    "known name twice, a colon in a text": (raw(',"platform":":x","platform":"y"}'), "invalid_json"),
    "NaN": (raw(',"x":NaN}'), "invalid_json"),
    "infinity": (raw(',"x":-Infinity}'), "invalid_json"),
    "single quotes": (json.dumps(GOOD).replace('"', "'").encode(), "invalid_json"),
    "bare name": (raw(",x:1}"), "invalid_json"),
    "comment": (raw("/* x */}"), "invalid_json"),
    "leading zero": (raw(',"x":01}'), "invalid_json"),
    "line feed in text": (raw(',"x":"a\nb"}'), "invalid_json"),
    "unknown escape": (raw(',"x":"\\q"}'), "invalid_json"),
    "too deep": (raw(',"x":' + "[" * 5_000 + "]" * 5_000 + "}"), "invalid_json"),
    "no fields": (b"{}", "missing_field"),
    "no user_id": (b'{"track_id":"t","listen_time":"2024-06-25T17:43:13Z"}', "missing_field"),
    "track_id null": (good(track_id=None), "missing_field"),
    "listen_time null": (good(listen_time=None), "missing_field"),
    "missing before mistyped": (good(track_id=None, user_id="7"), "missing_field"),
    "name in other case": (good(track_id=None, Track_ID="t"), "missing_field"),
    "user_id 1.0": (raw("}").replace(b"7", b"1.0", 1), "wrong_type"),
    "user_id 1e3": (raw("}").replace(b"7", b"1e3", 1), "wrong_type"),
    "user_id beyond 64 bits": (good(user_id=2**63), "wrong_type"),
    "user_id far beyond": (good(user_id=10**50), "wrong_type"),
    "user_id text": (good(user_id="7"), "wrong_type"),
    "user_id true": (good(user_id=True), "wrong_type"),
    "user_id list": (good(user_id=[7]), "wrong_type"),
    "track_id number": (good(track_id=4711), "wrong_type"),
    "track_id object": (good(track_id={"id": "t"}), "wrong_type"),
    "listen_time number": (good(listen_time=1_719_337_393), "wrong_type"),
    "event_id number": (good(event_id=1), "wrong_type"),
    "schema_version text": (good(schema_version="1"), "wrong_type"),
    "played_ms fraction": (good(played_ms=1.5), "wrong_type"),
    "platform false": (good(platform=False), "wrong_type"),
    "session_id object": (good(session_id={}), "wrong_type"),
    "mistyped before invalid": (good(track_id="", platform=1), "wrong_type"),
    "track_id empty": (good(track_id=""), "invalid_value"),
    "track_id of 65": (good(track_id="x" * 65), "invalid_value"),
    "track_id of 65 characters in many bytes": (good(track_id="é夜🎧x" * 16 + "ü"), "invalid_value"),
    "event_id empty": (good(event_id=""), "invalid_value"),
    "event_id of 65": (good(event_id="e" * 65), "invalid_value"),
    "value before time": (good(track_id="", listen_time="x"), "invalid_value"),
    "time empty": (at(""), "invalid_time"),
    "a word": (at("yesterday"), "invalid_time"),
    "date only": (at("2024-06-25"), "invalid_time"),
    "no seconds": (at("2024-06-25T17:43Z"), "invalid_time"),
    "lower case t": (at("2024-06-25t17:43:13Z"), "invalid_time"),
    "lower case z": (at("2024-06-25T17:43:13z"), "invalid_time"),
    "space before": (at(" 2024-06-25T17:43:13Z"), "invalid_time"),
    "space after": (at("2024-06-25T17:43:13Z "), "invalid_time"),
    "line feed after": (at("2024-06-25T17:43:13Z\n"), "invalid_time"),
    "line feed after no offset": (at("2024-06-25T17:43:13\n"), "invalid_time"),
    "carriage return after": (at("2024-06-25T17:43:13Z\r\n"), "invalid_time"),
    "30 February": (at("2024-02-30T17:43:13Z"), "invalid_time"),
    "29 February of no leap year": (at("2023-02-29T17:43:13Z"), "invalid_time"),
    "month 13": (at("2024-13-25T17:43:13Z"), "invalid_time"),
    "month 0": (at("2024-00-25T17:43:13Z"), "invalid_time"),
    "hour 24": (at("2024-06-24T24:00:00Z"), "invalid_time"),
    "minute 60": (at("2024-06-25T17:60:13Z"), "invalid_time"),
    "leap second": (at("2016-12-31T23:59:60Z"), "invalid_time"),
    "offset beyond 18 hours": (at("2024-06-25T17:43:13+19:00"), "invalid_time"),
    "offset just beyond 18 hours": (at("2024-06-25T17:43:13+18:01"), "invalid_time"),
    "offset minute 60": (at("2024-06-25T17:43:13+02:60"), "invalid_time"),
    "offset without colon": (at("2024-06-25T17:43:13+0200"), "invalid_time"),
    "offset by name": (at("2024-06-25T17:43:13 Europe/Berlin"), "invalid_time"),
    "ten digits": (at("2024-06-25T17:43:13.1234567890Z"), "invalid_time"),
    "a point and no digit": (at("2024-06-25T17:43:13.Z"), "invalid_time"),
    "digits of another script": (at("२०२४-06-25T17:43:13Z"), "invalid_time"),
    "five-digit year": (at("12024-06-25T17:43:13Z"), "invalid_time"),
    "before 2000": (at("1999-12-31T23:59:59.999999Z"), "impossible_time"),
    "before 2000 by its offset": (at("2000-01-01T00:59:59+01:00"), "impossible_time"),
    "a day and a microsecond after arrival": (at("2024-06-26T18:00:00.000001Z"), "impossible_time"),
    "far future": (at("9999-12-31T23:59:59Z"), "impossible_time"),
}


def records(spark: SparkSession, payloads: Iterable[bytes]) -> DataFrame:
    """One record per payload; its sequence number is its position."""
    rows = [
        {
            "data": payload,
            "streamName": "listens",
            "shardId": f"shard-{position % 3}",
            "partitionKey": "k",
            "sequenceNumber": str(position),
            "approximateArrivalTimestamp": ARRIVED,
        }
        for position, payload in enumerate(payloads)
    ]
    return spark.createDataFrame(pa.Table.from_pylist(rows, RECORDS))


def parse(spark: SparkSession, payloads: Iterable[bytes]) -> tuple[list[Row], list[Row]]:
    """Listens and rejects of one frame."""
    parsed = parse_records(records(spark, payloads)).persist()
    try:
        return accepted_listens(parsed).toArrow().to_pylist(maps_as_pydicts="strict"), rejected_records(
            parsed, "generation=g/batch=1/"
        ).toArrow().to_pylist()
    finally:
        parsed.unpersist()


@pytest.fixture(scope="module")
def outcome(spark: SparkSession) -> dict[str, tuple[str, Row]]:
    """Every payload of the tables by name: `accepted` or the reason, and the row."""
    payloads = {name: payload for name, (payload, _) in (*ACCEPTED.items(), *REJECTED.items())}
    assert len(payloads) == len(ACCEPTED) + len(REJECTED)
    names = list(payloads)
    listens, rejects = parse(spark, payloads.values())
    told = [("accepted", row) for row in listens] + [(row["reason"], row) for row in rejects]
    assert len(told) == len(names)
    return {names[int(row["sequence_number"])]: (result, row) for result, row in told}


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
    assert row["message"].startswith(INGEST_REASONS[reason])
    kept = base64.b64decode(row["payload_base64"]) if row["payload"] is None else row["payload"].encode()
    assert kept == payload, "the payload is kept in full"
    assert (row["stream"], row["line"], row["arrived_at"]) == ("listens", 1, ARRIVED)
    assert row["source_batch"] == "generation=g/batch=1/"


def test_every_reason_is_in_the_table() -> None:
    assert {reason for _, reason in REJECTED.values()} == set(INGEST_REASONS)


def test_messages_name_the_fields(outcome: dict[str, tuple[str, Row]]) -> None:
    assert outcome["no fields"][1]["message"].endswith(": user_id, track_id, listen_time")
    assert outcome["user_id text"][1]["message"].endswith(": user_id as STRING for BIGINT")


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


def test_unknown_fields_are_kept_as_json(spark: SparkSession) -> None:
    [listen], _ = parse(spark, [good(**UNKNOWN, played_ms=5)])
    assert {name: json.loads(text) for name, text in listen["extra"].items()} == UNKNOWN


event = st.tuples(
    st.integers(-(2**63), 2**63 - 1),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=64),
    st.datetimes(datetime(2000, 1, 1), datetime(2199, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001 - see timezones
)


@settings(max_examples=4, deadline=None)
@given(events=st.lists(event, min_size=1, max_size=300))
def test_the_id_in_sql_equals_the_id_in_python(spark: SparkSession, events: list[tuple[int, str, datetime]]) -> None:
    names = ("user_id", "track_id", "listen_time")
    table = pa.Table.from_pylist(
        [dict(zip(names, one, strict=True)) for one in events],
        pa.schema([("user_id", pa.int64()), ("track_id", pa.string()), ("listen_time", pa.timestamp("us", tz="UTC"))]),
    )
    found = spark.createDataFrame(table).select(F.expr(event_id_sql()).alias("id")).toArrow()["id"].to_pylist()
    assert found == [derive_event_id(*one) for one in events]


# -- a judge in plain Python ------------------------------------------------------------------------------------------

BIGINTS: Final = ("user_id", "schema_version", "played_ms")
STRINGS: Final = ("track_id", "listen_time", "event_id", "platform", "session_id")


class NotJsonError(ValueError):
    pass


def once(pairs: list[tuple[str, Any]]) -> Row:
    if len(dict(pairs)) < len(pairs):
        raise NotJsonError("a name twice")
    return dict(pairs)


def refuse(word: str) -> Any:
    raise NotJsonError(word)


def judge(payload: bytes) -> str:
    """What must become of a payload, by `json`, `re` and `datetime`."""
    try:
        text = payload.decode()
        value = json.loads(text, object_pairs_hook=once, parse_constant=refuse)
    except UnicodeDecodeError:
        return "invalid_utf8"
    except ValueError:
        return "invalid_json"
    if not isinstance(value, dict):
        return "invalid_json"
    if any(value.get(name) is None for name in ("user_id", "track_id", "listen_time")):
        return "missing_field"
    integers = [value[name] for name in BIGINTS if value.get(name) is not None]
    texts = [value[name] for name in STRINGS if value.get(name) is not None]
    if any(type(one) is not int or not -(2**63) <= one < 2**63 for one in integers) or any(
        type(one) is not str for one in texts
    ):
        return "wrong_type"
    fits = all(1 <= len(value[name]) <= 64 for name in ("track_id", "event_id") if value.get(name) is not None)
    return judge_time(value["listen_time"]) if fits else "invalid_value"


def judge_time(text: str) -> str:
    if not re.fullmatch(TIME_PATTERN, text):
        return "invalid_time"
    whole, fraction, zone = re.fullmatch(r"(.{19})(?:[.](\d+))?(Z|[+-].{5})?", text).groups()  # type: ignore[union-attr]
    if whole.startswith("0000"):
        return "impossible_time"
    try:
        moment = datetime.fromisoformat(whole).replace(tzinfo=UTC)
    except ValueError:
        return "invalid_time"
    moment += timedelta(microseconds=int((fraction or "")[:6].ljust(6, "0")))
    if zone and zone != "Z":
        ahead = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))
        if moment.year > 1:
            moment -= ahead if zone[0] == "+" else -ahead
    impossible = moment < datetime(2000, 1, 1, tzinfo=UTC) or moment > ARRIVED + timedelta(hours=24)
    return "impossible_time" if impossible else "accepted"


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


def test_a_hundred_thousand_mutations_are_each_good_or_rejected_and_keep_their_place(spark: SparkSession) -> None:
    rng = random.Random(20_240_625)
    seeds = [payload for payload, _ in (*ACCEPTED.values(), *REJECTED.values()) if 10 < len(payload) < 400]
    lines = [good() + b"\n" + good(user_id=8), good() + b"\r\n" + good(platform="\u00e9") + b"\r\n"]
    payloads = [mutate(rng.choice(seeds), rng) for _ in range(95_000)] + [
        mutate(rng.choice(lines), rng) for _ in range(5_000)
    ]
    listens, rejects = parse(spark, payloads)
    outcomes = {(int(row["sequence_number"]), row["line"]): "accepted" for row in listens}
    outcomes |= {(int(row["sequence_number"]), row["line"]): row["reason"] for row in rejects}
    assert len(listens) + len(rejects) == len(outcomes)
    assert all(row["shard_id"] == f"shard-{int(row['sequence_number']) % 3}" for row in (*listens, *rejects))
    events = {(place, line): data for place, record in enumerate(payloads) for line, data in split_events(record)}
    expected = {place: judge(data) for place, data in events.items()}
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
def split(spark: SparkSession) -> dict[str, list[tuple[int, bytes, str | None, str | None]]]:
    """Every record of the table: line, bytes, reason and shard of its events."""
    names = list(LINES)
    parsed = parse_records(records(spark, [record for record, _ in LINES.values()]))
    rows = parsed.select("sequence_number", "line", "data", "reject_reason", "shard_id").toArrow().to_pylist()
    found: dict[str, list[tuple[int, bytes, str | None, str | None]]] = {name: [] for name in names}
    for row in rows:
        one = (row["line"], bytes(row["data"]), row["reject_reason"], row["shard_id"])
        found[names[int(row["sequence_number"])]].append(one)
    return {name: sorted(events) for name, events in found.items()}


@pytest.mark.parametrize("name", LINES)
def test_a_record_of_lines_is_as_many_events_and_each_is_judged_for_itself(
    split: dict[str, list[tuple[int, bytes, str | None, str | None]]], name: str
) -> None:
    record, events = LINES[name]
    assert [(line, data) for line, data, *_ in split[name]] == events == split_events(record)
    limits = {padded(65_537): "oversize"}
    expected = [limits.get(data, judge(data)) for _, data in events]
    assert [reason or "accepted" for _, _, reason, _ in split[name]] == expected
    assert {shard for *_, shard in split[name]} == {f"shard-{list(LINES).index(name) % 3}"}


def test_a_line_is_kept_as_it_came_and_rejected_alone(spark: SparkSession) -> None:
    bad = good(platform="?").replace(b"?", b"\xff\xfe\x00")
    listens, rejects = parse(spark, [b"\n".join([good(user_id=1), bad, good(user_id=3), b"{", good(user_id=5)])])
    assert [(row["user_id"], row["line"]) for row in listens] == [(1, 1), (3, 3), (5, 5)]
    found = [(row["reason"], row["line"], row["payload"]) for row in rejects]
    assert found == [("invalid_utf8", 2, None), ("invalid_json", 4, "{")]
    assert base64.b64decode(rejects[0]["payload_base64"]) == bad
    assert {row["sequence_number"] for row in (*listens, *rejects)} == {"0"}


@pytest.mark.parametrize("filler", [b"\n", b"\r\n", b"{}\n"])
def test_a_record_of_a_megabyte_of_lines(spark: SparkSession, filler: bytes) -> None:
    record = good() + b"\n" + good() + b"\n" + filler * ((2**20 - 300) // len(filler)) + good()
    last = record.count(b"\n") + 1
    parsed = parse_records(records(spark, [record]))
    counted = parsed.groupBy("reject_reason").agg(
        F.count("*").alias("events"), F.sum("line").alias("lines"), F.max("line").alias("last")
    )
    found = {row["reject_reason"]: (row["events"], row["lines"], row["last"]) for row in counted.collect()}
    expected: dict[str | None, tuple[int, int, int]] = {None: (3, 1 + 2 + last, last)}
    if filler == b"{}\n":
        expected["missing_field"] = (last - 3, sum(range(3, last)), last - 1)
    assert found == expected


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
def test_any_bytes_are_split_as_plain_python_splits_them(spark: SparkSession, batch: list[bytes]) -> None:
    parsed = parse_records(records(spark, batch)).select("sequence_number", "line", "data")
    found = {(int(row["sequence_number"]), row["line"]): bytes(row["data"]) for row in parsed.toArrow().to_pylist()}
    assert found == {(place, line): data for place, record in enumerate(batch) for line, data in split_events(record)}
