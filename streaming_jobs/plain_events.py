r"""The short way for the common event: a payload whose wording leaves nothing for the strict parser to find.

A plain payload is one flat object of known names only, each text without an escape, each number a whole one of at most
18 digits, no name twice, nothing after it but white space. For such bytes a typed `from_json` and the strict parser
cannot differ: there is no trailing value to overlook, no number to turn into text, no repeated name to drop. All other
payloads, good or bad, take the strict way; so this module never rejects anything. Pure, no session, no I/O.
"""

from __future__ import annotations

from functools import reduce
from typing import Final

from pyspark.sql import Column
from pyspark.sql import functions as F

from lakehouse import events

_NAMES: Final = {kind: "|".join(n for n, k in events.FIELDS.items() if k == kind) for kind in ("STRING", "BIGINT")}
_TEXT: Final = rf'"(?:{_NAMES["STRING"]})": ?"[^"\\\x00-\x1f]*+"'
_NUMBER: Final = rf'"(?:{_NAMES["BIGINT"]})": ?(?:0|-?[1-9][0-9]{{0,17}}+)'
_MEMBER: Final = f"(?:{_TEXT}|{_NUMBER})"
# Possessive and bounded: the match neither backtracks nor recurses deeply, whatever the bytes.
PLAIN_PATTERN: Final = rf"\A\{{{_MEMBER}(?:, ?{_MEMBER}){{0,{len(events.FIELDS) - 1}}}+\}}[ \r\n]*+\z"

_SCHEMA: Final = ", ".join(f"{name} {kind}" for name, kind in events.FIELDS.items())


def decoded(payload: Column) -> Column:
    """The payload's fields as a struct, null unless its wording is plain; `payload` must be valid UTF-8 or null."""
    return F.when(payload.rlike(PLAIN_PATTERN), F.from_json(payload, _SCHEMA))


def names_differ(plain: Column, payload: Column) -> Column:
    """True where the fields that came out of a plain payload are as many as its members, so that no name repeats.

    Each member holds `":` once, after its name. A text that begins with a colon holds it once more, so the members may
    be overcounted, never undercounted: such a payload takes the strict way, and a repeated name is never let through.
    """
    filled = [F.when(plain[name].isNotNull(), 1).otherwise(0) for name in events.FIELDS]
    bytes_of_colons = F.octet_length(payload) - F.octet_length(F.replace(payload, F.lit('":'), F.lit("")))
    return reduce(lambda one, other: one + other, filled) * 2 == bytes_of_colons


def complete(plain: Column) -> Column:
    """True where every required field is there."""
    return reduce(lambda one, other: one & other, [plain[name].isNotNull() for name in events.REQUIRED_FIELDS])
