"""The options of the source: text from Spark in, one frozen record out. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Final, Self

from lakehouse.errors import SettingsError

TRIM_HORIZON: Final = "TRIM_HORIZON"
LATEST: Final = "LATEST"
AT_TIMESTAMP: Final = "AT_TIMESTAMP"


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """One query's options; README.md says what each is for.

    Times are epoch seconds; zero turns a cap or a budget off.
    """

    stream_name: str
    progress_location: str
    region: str | None = None
    endpoint_url: str | None = None
    role_arn: str | None = None
    role_session_name: str = "kinesis-source"
    sts_endpoint_url: str | None = None
    starting_position: str = TRIM_HORIZON
    starting_timestamp: float | None = None
    ending_timestamp: float | None = None
    max_records_per_shard: int = 50_000
    max_bytes_per_shard: int = 128 * 1024 * 1024
    max_records_per_batch: int = 0
    max_bytes_per_batch: int = 256 * 1024 * 1024
    max_fetch_seconds: float = 10.0
    max_tasks: int = 0
    reads_per_second: float = 5.0
    bytes_per_second: float = 2.0 * 1024 * 1024
    patience_seconds: float = 120.0
    fail_on_data_loss: bool = True

    @classmethod
    def parse(cls, get: Callable[[str], str | None]) -> Self:
        """Read the options.

        Args:
            get: Returns an option's text by its name; Spark hands a case-insensitive map that only answers to names.

        Raises:
            SettingsError: A required option is absent, or a value makes no sense.
        """
        texts = {item.name: get(option_name(item.name)) for item in fields(cls)}
        for name in ("stream_name", "progress_location"):
            if not texts[name]:
                raise SettingsError(
                    expected=f"option {option_name(name)}", found="none", do="README.md lists the options."
                )
        kinds = {item.name: str(item.type) for item in fields(cls)}
        found = cls(**{name: _convert(name, kinds[name], text) for name, text in texts.items() if text})
        found._check()
        return found

    def _check(self) -> None:
        positions = (TRIM_HORIZON, LATEST, AT_TIMESTAMP)
        if self.starting_position not in positions:
            raise _wrong("starting_position", " or ".join(positions), self.starting_position)
        if (self.starting_position == AT_TIMESTAMP) != (self.starting_timestamp is not None):
            raise SettingsError(
                expected="startingTimestamp with startingPosition AT_TIMESTAMP, and only with it",
                found=f"{self.starting_position} and {self.starting_timestamp or 'no timestamp'}",
                do="Give both or neither.",
            )
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, int | float) and value < 0:
                raise _wrong(item.name, "a number from 0 on", value)


def option_name(name: str) -> str:
    """Return an option's name as Spark users write it."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def to_text(options: Mapping[str, object]) -> dict[str, str]:
    """Return options by Spark's names, as Spark takes them; those that are None are left out."""
    shown = {name: str(value).lower() if isinstance(value, bool) else value for name, value in options.items()}
    return {option_name(name): str(value) for name, value in shown.items() if value is not None}


def _convert(name: str, kind: str, text: str) -> Any:
    try:
        if name == "starting_position":
            return text.upper()
        if name.endswith("_timestamp"):
            return _moment(text)
        if kind == "bool":
            return {"true": True, "false": False}[text.lower()]
        return {"int": int, "float": float}.get(kind, str)(text)
    except (KeyError, ValueError):
        wanted = "a time as epoch seconds or ISO 8601" if name.endswith("_timestamp") else kind
        raise _wrong(name, wanted, text) from None


def _moment(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _wrong(name: str, expected: str, found: object) -> SettingsError:
    return SettingsError(
        expected=f"option {option_name(name)} as {expected}", found=repr(found), do="Correct the option."
    )
