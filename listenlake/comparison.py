"""Compare what the pipeline serves and rejects with the producer's truth: pure, values in, differences out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from listenlake.served import GENRE_KPIS, ServedKpis

SHOWN_DIFFERENCES: Final = 10

Reject = tuple[str, str, str, int]
"""Reason, shard, sequence number and line of an event."""


@dataclass(frozen=True)
class Comparison:
    """The verdict.

    Attributes:
        items_compared: Items that are served or must be served, of both tables.
        items_different: Those that are missing, not expected, or differ in any value.
        rejects_expected: Events that must lie in `bad-records/`, by the truth.
        rejects_found: Of these, those that lie there once and under the right reason.
        rejects_unexpected: Events that lie there and must not, or lie there twice.
        differences: The first few, for people.
        found_by_reason: `rejects_found` by reason.
    """

    items_compared: int
    items_different: int
    rejects_expected: int
    rejects_found: int
    rejects_unexpected: int
    differences: tuple[str, ...]
    found_by_reason: dict[str, int]

    @property
    def is_equal(self) -> bool:
        """Tell whether everything that is served equals the truth and every reject is accounted for."""
        return (
            self.items_compared > 0
            and self.items_different == 0
            and self.rejects_found == self.rejects_expected
            and self.rejects_unexpected == 0
        )

    def verdict(self) -> str:
        """Return the demo's last line."""
        equal = self.items_compared - self.items_different
        return (
            f"{equal} of {self.items_compared} served items equal the truth; "
            f"{self.rejects_found} of {self.rejects_expected} rejects accounted for"
        )


def compare(
    served: ServedKpis,
    *,
    genres: list[dict[str, Any]],
    top_genres: list[dict[str, Any]],
    rejects: Iterable[Reject],
    found_rejects: Iterable[Reject],
) -> Comparison:
    """Compare item by item and reject by reject.

    Args:
        served: What DynamoDB serves.
        genres: The truth's genre KPIs.
        top_genres: The truth's charts.
        rejects: Every event that must be rejected.
        found_rejects: Every event found in `bad-records/`.
    """
    wanted: dict[tuple[str, ...], Any] = {("genre", *_genre_key(row)): _genre_values(row) for row in genres}
    wanted |= {("chart", row["listen_date"]): _plain(row["top_genres"]) for row in top_genres}
    found: dict[tuple[str, ...], Any] = {("genre", *_genre_key(item)): _genre_values(item) for item in served.genres}
    found |= {("chart", item["listen_date"]): _plain(item["top_genres"]) for item in served.charts}
    keys = sorted(wanted.keys() | found.keys())
    different = [key for key in keys if wanted.get(key) != found.get(key)]
    expected, seen = Counter(rejects), Counter(found_rejects)
    accounted = expected & seen
    told = [f"{' '.join(key)}: expected {wanted.get(key)}, found {found.get(key)}" for key in different]
    told += [f"reject expected and not found: {_spell(key)}" for key in (expected - seen)]
    told += [f"reject found and not expected: {_spell(key)}" for key in (seen - expected)]
    return Comparison(
        items_compared=len(keys),
        items_different=len(different),
        rejects_expected=expected.total(),
        rejects_found=accounted.total(),
        rejects_unexpected=(seen - expected).total(),
        differences=tuple(told[:SHOWN_DIFFERENCES]),
        found_by_reason=dict(Counter(reason for reason, *_ in accounted.elements())),
    )


def _spell(reject: Reject) -> str:
    reason, shard, number, line = reject
    return f"{reason} {shard} {number} line {line}"


def _genre_key(row: dict[str, Any]) -> tuple[str, str]:
    return row["listen_date"], row["track_genre"]


def _genre_values(row: dict[str, Any]) -> Any:
    return _plain({name: row[name] for name in (*GENRE_KPIS, "top_songs")})


def _plain(value: Any) -> Any:
    """Bring the truth's and DynamoDB's spellings of one value together; numbers stay exact."""
    if isinstance(value, dict):
        return {name: _number(name, entry) for name, entry in value.items() if entry is not None}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return Decimal(value) if isinstance(value, int) else value


def _number(name: str, value: Any) -> Any:
    return Decimal(value) if name == "avg_listening_time_per_user_ms" else _plain(value)
