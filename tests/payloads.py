"""Payloads and what must become of them, and a judge of any payload: `json`, `re` and `datetime`, in few lines."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from producers.judgement import TIME_PATTERN

Row = dict[str, Any]

ARRIVED: Final = datetime(2024, 6, 25, 18, 0, 0, tzinfo=UTC)
TIME: Final = "2024-06-25T17:43:13Z"
GOOD: Final = {"user_id": 7, "track_id": "t", "listen_time": TIME}
MOMENT: Final = datetime(2024, 6, 25, 17, 43, 13, tzinfo=UTC)


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
    is_year_0 = whole.startswith("0000")
    try:
        # Year 0 of ISO 8601 is a leap year, as year 4 is.
        moment = datetime.fromisoformat(whole.replace("0000-", "0004-") if is_year_0 else whole).replace(tzinfo=UTC)
    except ValueError:
        return "invalid_time"
    if is_year_0:
        return "impossible_time"
    moment += timedelta(microseconds=int((fraction or "")[:6].ljust(6, "0")))
    if zone and zone != "Z":
        ahead = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))
        # Beyond these Python has no date; either way the time is an impossible one.
        if 1 < moment.year < 9999:
            moment -= ahead if zone[0] == "+" else -ahead
    impossible = moment < datetime(2000, 1, 1, tzinfo=UTC) or moment > ARRIVED + timedelta(hours=24)
    return "impossible_time" if impossible else "accepted"
