"""A declarative fix of rejected events: rename, cast, default, constant, in this order. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn, Self

from lakehouse.errors import SettingsError


class UnfixableError(ValueError):
    """The fix does not fit this one event, which therefore stays rejected."""


def _to_integer(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise UnfixableError("no whole number")
    return int(value)


def _to_string(value: Any) -> str:
    if isinstance(value, dict | list):
        raise UnfixableError("no single value")
    return value if isinstance(value, str) else json.dumps(value)


CASTS: Final[dict[str, Callable[[Any], Any]]] = {"integer": _to_integer, "string": _to_string}


@dataclass(frozen=True)
class Fix:
    """What to change in each event; an empty fix leaves the bytes as they are.

    Attributes:
        renames: (old name, new name).
        casts: (field, name of a cast in `CASTS`); a field that is absent or null is left alone.
        defaults: (field, value) for where the field is absent or null.
        constants: (field, value) for every event.
    """

    renames: tuple[tuple[str, str], ...] = ()
    casts: tuple[tuple[str, str], ...] = ()
    defaults: tuple[tuple[str, Any], ...] = ()
    constants: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def parse(
        cls, *, rename: Sequence[str], cast: Sequence[str], default: Sequence[str], constant: Sequence[str]
    ) -> Self:
        """Read options of the form FIELD=VALUE; a default's or constant's value is JSON, or else text.

        Raises:
            SettingsError: An option has another form or names an unknown cast.
        """
        casts = tuple(_pair("cast", text) for text in cast)
        for _, kind in casts:
            if kind not in CASTS:
                raise SettingsError(expected=f"a cast to {' or '.join(CASTS)}", found=kind, do="Correct --cast.")
        return cls(
            renames=tuple(_pair("rename", text) for text in rename),
            casts=casts,
            defaults=tuple((name, _value(text)) for name, text in (_pair("default", one) for one in default)),
            constants=tuple((name, _value(text)) for name, text in (_pair("constant", one) for one in constant)),
        )

    def apply(self, data: bytes) -> bytes:
        """Return the event as it shall be sent.

        Raises:
            UnfixableError: There is something to change, and the event is no JSON object or has no such value.
        """
        if self == type(self)():
            return data
        event = read_object(data)
        for old, new in self.renames:
            if old in event:
                if event.get(new) is not None:
                    raise UnfixableError(f"{new} is there already")
                event[new] = event.pop(old)
        for name, kind in self.casts:
            if event.get(name) is not None:
                try:
                    event[name] = CASTS[kind](event[name])
                except (TypeError, ValueError, OverflowError):
                    raise UnfixableError(f"{name} can't become {kind}") from None
        for name, value in self.defaults:
            if event.get(name) is None:
                event[name] = value
        event.update(self.constants)
        return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def read_object(data: bytes) -> dict[str, Any]:
    """Return the one JSON object that `data` is.

    Raises:
        UnfixableError: It is none, or names a member twice.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise UnfixableError("a name is there twice")
        return found

    def refuse(_name: str) -> NoReturn:
        raise UnfixableError("no JSON number")

    try:
        value = json.loads(data.decode(), object_pairs_hook=once, parse_constant=refuse)
    except (ValueError, RecursionError):
        # No cause: its text would quote the payload.
        raise UnfixableError("no single JSON object") from None
    if not isinstance(value, dict):
        raise UnfixableError("no JSON object")
    return value


def _pair(option: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise SettingsError(expected=f"--{option} FIELD=VALUE", found=repr(text), do=f"Correct --{option}.")
    return name, value


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
