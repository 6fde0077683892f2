"""JSON as the contract reads it: one object, each name once, every number as it was written. Pure Python.

`json` alone is lenient where the contract is not: it takes `NaN`, keeps the last of two members with one name, and
rounds numbers. Here each of those is seen, mostly without a call of Python for each member: where a name came twice,
the text has a colon more than what was read of it.
"""

from __future__ import annotations

import json
import re
from json.encoder import encode_basestring
from typing import Any, Final

_BLANKS: Final = " \t\n\r"
_ESCAPED_COLON: Final = "\\u003"
"""How an escaped colon begins, and the escapes next to it."""
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")
_WORDS: Final = {None: "null", True: "true", False: "false"}


class Number(str):
    """A number that is no integer of few digits, as it was written."""

    __slots__ = ()


def read_object(text: str) -> dict[str, Any] | None:
    """Return the members of the text's one object; None where it is no object, or names a member twice.

    Integers of up to a few thousand digits are `int`, all other numbers `Number`.

    Raises:
        ValueError: If it is no JSON, or holds half of a surrogate pair.
        RecursionError: If it is too deep.
    """
    text = text.strip(_BLANKS)
    if text[:1] != "{" or text[-1] != "}":
        return None
    is_escaped = "\\u" in text
    members = _read_exactly(text) if is_escaped and _ESCAPED_COLON in text else _read_quickly(text)
    if members is not None and is_escaped and _SURROGATE.search(text):
        # Half of a pair can be escaped, but is no character: a UnicodeEncodeError, which is a ValueError.
        to_json(members).encode()
    return members


def _read_quickly(text: str) -> dict[str, Any] | None:
    try:
        members, end = _READER.raw_decode(text)
    except json.JSONDecodeError:
        raise
    except ValueError:
        # Python refuses to read thousands of digits.
        return _read_exactly(text)
    return members if end == len(text) and _has_all(members, text.count(":")) else None


def _read_exactly(text: str) -> dict[str, Any]:
    members: dict[str, Any] = _EXACT_READER.decode(text)
    return members


def _has_all(members: dict[str, Any], colons: int) -> bool:
    """Tell whether these are all members of a text with so many colons, none of them escaped.

    A colon stands between each name and its value, or within a text. Most events have the latter only in their time,
    and then what is left is one for each member.
    """
    time = members.get("listen_time")
    return colons == len(members) + (time.count(":") if type(time) is str else 0) or colons == _colons(members)


def _colons(value: Any) -> int:
    """Colons between the names and values of an object or array, and within its texts."""
    is_object = type(value) is dict
    found = len(value) + "".join(value).count(":") if is_object else 0
    for inner in value.values() if is_object else value:
        kind = type(inner)
        if kind is str:
            found += inner.count(":")
        elif kind is dict or kind is list:
            found += _colons(inner)
    return found


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise json.JSONDecodeError("a name twice", "", 0)
    return members


def _refuse(word: str) -> Any:
    raise json.JSONDecodeError(word, "", 0)


def _integer(digits: str) -> int | Number:
    # No field needs more than twenty.
    return int(digits) if len(digits) <= 20 else Number(digits)


_READER: Final = json.JSONDecoder(parse_constant=_refuse, parse_float=Number)
_EXACT_READER: Final = json.JSONDecoder(
    object_pairs_hook=_distinct, parse_constant=_refuse, parse_float=Number, parse_int=_integer
)


def to_json(value: Any) -> str:
    """Return the shortest JSON text of a value that was read here, its numbers as they were written."""
    kind = type(value)
    if kind is str:
        return encode_basestring(value)
    if kind is dict:
        return "{" + ",".join([f"{encode_basestring(name)}:{to_json(inner)}" for name, inner in value.items()]) + "}"
    if kind is list:
        return "[" + ",".join([to_json(inner) for inner in value]) + "]"
    return _WORDS[value] if value is None or kind is bool else str(value)
