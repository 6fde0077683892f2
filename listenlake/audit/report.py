"""What an audit says."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from listenlake.audit.account import Account


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One minute, or one item of a day, at which a stage differs from the one before it.

    Attributes:
        stage: The stage that is wrong, judged by the one before it.
        at: The minute of `listen_time` in UTC (`2024-06-25T10:07`) or the listen date; of a batch, its commit's minute.
        what: `lost` (fewer than expected), `doubled` (more), `unexpected` (none was expected), or `changed` (as many,
            but others).
        expected: Rows, or the values of an item, that the stage before gives.
        found: What is there.
        expected_hash: Sum of the 64-bit id hashes, modulo 2^64, in hexadecimal; empty where values are compared.
        found_hash: The same of what is there.
        key: Genre, or name of the batch; empty where a minute says it all.
    """

    stage: str
    at: str
    what: str
    expected: str
    found: str
    expected_hash: str = ""
    found_hash: str = ""
    key: str = ""

    def describe(self) -> str:
        """Return one line for people."""
        place = f"{self.at} {self.key}".strip()
        hashes = (
            f" (ids {self.expected_hash} and {self.found_hash})" if self.what == "changed" and self.found_hash else ""
        )
        return f"{self.stage}: {self.what} at {place}: expected {self.expected}, found {self.found}{hashes}"


@dataclass(frozen=True)
class AuditReport:
    """All of it.

    Attributes:
        stages: Rows and the sum of id hashes of each stage, in the order of the data.
        account: Events by what became of them; of those in flight no difference is made.
        findings: Every difference.
        seconds: How long it took.
    """

    stages: list[dict[str, Any]]
    account: Account
    findings: list[Finding]
    seconds: float

    @property
    def is_clean(self) -> bool:
        """Tell whether the account closes and nothing is lost, doubled or changed."""
        return self.account.closes and not self.findings

    def to_json(self) -> dict[str, Any]:
        """Return everything as one JSON object."""
        return {
            "clean": self.is_clean,
            "stages": self.stages,
            "account": self.account.to_json(),
            "findings": [asdict(finding) for finding in self.findings],
            "seconds": self.seconds,
        }
