"""What differs between one placement of Listenlake and another, read from the CDK context."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Self

from infra.environments import ENVIRONMENTS, Environment
from lakehouse.errors import SettingsError

CONTEXT_PREFIX: Final = "listenlake:"
PROJECT: Final = Path(__file__).resolve().parents[1]
ON_DEMAND: Final = "on-demand"
# Room for the longest role name, `-lab3-presentation-data`, in the 63 characters of a bucket name.
PREFIX_PATTERN: Final = re.compile(r"[a-z0-9][a-z0-9-]{1,38}")


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """One placement.

    Attributes:
        prefix: Put before bucket names, which are global.
        environment: Which of `ENVIRONMENTS` it is; part of the stacks' names.
        shards: Provisioned shards of the stream, or `on-demand`; empty takes the environment's.
        maintenance_window: Day and hour (UTC) at which Glue may restart the streaming job, each week.
        alarm_email: Who is told of alarms; empty for nobody but the topic.
        tags: Put on every resource.
        project: Folder that holds the rooms whose code is shipped.
    """

    prefix: str
    environment: str = "dev"
    shards: str = ""
    maintenance_window: str = "Sun:03"
    alarm_email: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    project: Path = field(default=PROJECT)

    def __post_init__(self) -> None:
        """Refuse what AWS would refuse after minutes."""
        if not PREFIX_PATTERN.fullmatch(self.prefix):
            raise SettingsError(
                expected="a prefix of 2 to 39 lower-case letters, digits and hyphens",
                found=repr(self.prefix),
                do="Choose another one: `-c listenlake:prefix=NAME`.",
            )
        if self.environment not in ENVIRONMENTS:
            raise SettingsError(
                expected=f"an environment among {', '.join(ENVIRONMENTS)}",
                found=repr(self.environment),
                do="Choose one of them: `-c listenlake:environment=NAME`.",
            )
        if self.shards not in ("", ON_DEMAND) and not re.fullmatch("[1-9][0-9]*", self.shards):
            raise SettingsError(
                expected=f"at least one shard, or {ON_DEMAND}",
                found=repr(self.shards),
                do="Correct the value: `-c listenlake:shards=N`.",
            )

    @property
    def promises(self) -> Environment:
        """What this kind of placement promises about its data."""
        return ENVIRONMENTS[self.environment]

    @property
    def provisioned_shards(self) -> int | None:
        """Shards of the stream; None for a stream that Kinesis scales."""
        if not self.shards:
            return self.promises.shards
        return None if self.shards == ON_DEMAND else int(self.shards)

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
        convert: dict[str, Any] = {"tags": _read_tags, "project": Path}
        return cls(**{name: convert.get(name, str)(value) for name, value in found.items()})

    def to_context(self) -> dict[str, str]:
        """Render the placement as context; `from_context` of it gives an equal record."""
        rendered = {CONTEXT_PREFIX + item.name: str(getattr(self, item.name)) for item in fields(self)}
        return rendered | {f"{CONTEXT_PREFIX}tags": ",".join(f"{name}={value}" for name, value in self.tags.items())}


def declared_context() -> dict[str, Any]:
    """Return the context of `cdk.json`, which the CDK applies only when its own command line starts the app."""
    context: dict[str, Any] = json.loads((PROJECT / "infra" / "cdk.json").read_text())["context"]
    return context


def _is_ours(key: str) -> bool:
    return key.startswith(CONTEXT_PREFIX)


def _read_tags(value: Mapping[str, str] | str) -> dict[str, str]:
    """Read tags as `cdk.json` holds them, an object, or as `-c` gives them, `team=data,cost-centre=42`."""
    if not isinstance(value, str):
        return dict(value)
    pairs = [pair.split("=", 1) for pair in value.split(",") if pair]
    if any(len(pair) != 2 for pair in pairs):
        raise SettingsError(expected="tags as `name=value,name=value`", found=repr(value), do="Correct the value.")
    return {pair[0]: pair[1] for pair in pairs}
