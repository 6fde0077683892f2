"""What the deployed stack declares and the emulator does not do: the one list, printed by `up`.

Each entry is asserted on the template instead (`tests/infra`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class EmulatorGap:
    """One thing that AWS does and the emulator does not."""

    what: str
    instead: str


GAPS: Final = (
    EmulatorGap("bucket lifecycle rules are not kept", "objects stay until `down`"),
    EmulatorGap("access logs of the buckets are not written", "the emulator's own log has every request"),
    EmulatorGap("DynamoDB expiry and point-in-time recovery are not switched on", "items stay until `down`"),
    EmulatorGap(
        "nothing is encrypted: neither buckets and stream by the lake's key nor what Glue writes",
        "data stays on this machine",
    ),
    EmulatorGap(
        "a Glue job's maximum of concurrent runs and its maintenance window are dropped",
        "the local Glue endpoint refuses a second run itself",
    ),
    EmulatorGap("role policies are not evaluated", "the template's statements are tested"),
)


def describe_gaps() -> list[str]:
    """Return one line for each gap."""
    return [f"{gap.what}: {gap.instead}" for gap in GAPS]
