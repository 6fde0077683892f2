"""What differs between one placement of Listenlake and another, read from the CDK context."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Self

from lakehouse.errors import SettingsError

CONTEXT_PREFIX: Final = "listenlake:"
PROJECT: Final = Path(__file__).resolve().parents[1]
# Room for the longest role name, `-lab3-presentation-data`, in the 63 characters of a bucket name.
PREFIX_PATTERN: Final = re.compile(r"[a-z0-9][a-z0-9-]{1,38}")


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """One placement.

    Attributes:
        prefix: Put before bucket names, which are global.
        environment: Name of the placement, part of the stacks' names.
        shards: Provisioned shards of the stream.
        retain: Keep data when the stack is deleted.
        project: Folder that holds the rooms whose code is shipped.
    """

    prefix: str
    environment: str = "dev"
    shards: int = 2
    retain: bool = False
    project: Path = field(default=PROJECT)

    def __post_init__(self) -> None:
        """Refuse what AWS would refuse after minutes."""
        if not PREFIX_PATTERN.fullmatch(self.prefix):
            raise SettingsError(
                expected="a prefix of 2 to 39 lower-case letters, digits and hyphens",
                found=repr(self.prefix),
                do="Choose another one: `-c listenlake:prefix=NAME`.",
            )
        if self.shards < 1:
            raise SettingsError(expected="at least one shard", found=str(self.shards), do="Correct the value.")

    @classmethod
    def from_context(cls, context: Mapping[str, Any]) -> Self:
        """Read the placement from CDK context; values given by `-c` arrive as text."""
        known = {item.name for item in fields(cls)}
        found = {key.removeprefix(CONTEXT_PREFIX): value for key, value in context.items() if _is_ours(key)}
        if unknown := found.keys() - known:
            raise SettingsError(
                expected=f"context among {', '.join(sorted(known))}",
                found=", ".join(sorted(unknown)),
                do=f"Correct the names after `{CONTEXT_PREFIX}`.",
            )
        convert: dict[str, Any] = {"shards": int, "retain": lambda value: str(value).lower() == "true", "project": Path}
        return cls(**{name: convert.get(name, str)(value) for name, value in found.items()})

    def to_context(self) -> dict[str, str]:
        """Render the placement as context; `from_context` of it gives an equal record."""
        return {CONTEXT_PREFIX + item.name: str(getattr(self, item.name)) for item in fields(self)}


def declared_context() -> dict[str, Any]:
    """Return the context of `cdk.json`, which the CDK applies only when its own command line starts the app."""
    context: dict[str, Any] = json.loads((PROJECT / "infra" / "cdk.json").read_text())["context"]
    return context


def _is_ours(key: str) -> bool:
    return key.startswith(CONTEXT_PREFIX)
