"""The account of events: received = accepted + duplicate + rejected, what is under way apart.

Each event that reached a committed batch is counted once, by what became of it in the end. A replayed reject is the
same event: when ingestion has read its new record, what became of that is what became of it, so it moves from rejected
to accepted or duplicate, and what was received stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import duckdb

ACCEPTED: Final = "accepted"
DUPLICATE: Final = "duplicate"
IN_FLIGHT: Final = "in_flight"
EXPIRED: Final = "expired"
NO_OUTCOME: Final = "no_outcome"
REPLAY_LOST: Final = "replay_lost"
NOT_FOUND: Final = "not_found"

_MEANINGS: Final = {
    NO_OUTCOME: "of merged batches neither curated nor in bad-records/",
    REPLAY_LOST: "replayed, passed over by ingestion",
    NOT_FOUND: "named by a manifest and not found in its files",
}

_OUTCOMES: Final = f"""
WITH RECURSIVE passed AS (
    SELECT place, any_value(id) AS id, count(*) AS times, bool_and(pending) AS pending, bool_or(expired) AS expired
    FROM ingested GROUP BY place
), set_aside AS (
    SELECT place, count(*) AS times, min(reason) AS reason FROM enrichment_rejects GROUP BY place
), known AS (
    SELECT DISTINCT id, TRUE AS is_known FROM curated WHERE is_latest
), delivery AS (
    SELECT place, id,
        CASE
            WHEN pending THEN '{IN_FLIGHT}'
            WHEN set_aside.times >= passed.times THEN reason
            WHEN is_known THEN '{ACCEPTED}'
            WHEN expired THEN '{EXPIRED}'
            ELSE '{NO_OUTCOME}'
        END AS outcome
    FROM passed LEFT JOIN set_aside USING (place) LEFT JOIN known USING (id)
    UNION ALL
    SELECT place, NULL, min(reason)
    FROM (SELECT place, reason FROM ingest_rejects UNION ALL SELECT place, reason FROM enrichment_rejects)
    WHERE place NOT IN (SELECT place FROM passed) GROUP BY place
), link AS (
    SELECT place, became
    FROM replays LEFT JOIN (SELECT shard_id, max(sequence) AS newest FROM reached GROUP BY shard_id) USING (shard_id)
    WHERE became IN (SELECT place FROM delivery) OR sequence <= newest
), chain AS (
    SELECT place, became FROM link
    UNION SELECT chain.place, link.became FROM chain JOIN link ON link.place = chain.became
), final AS (
    SELECT chain.place, coalesce(outcome, '{REPLAY_LOST}') AS outcome, id
    FROM chain LEFT JOIN delivery ON delivery.place = became WHERE became NOT IN (SELECT place FROM link)
), event AS (
    SELECT delivery.place, final.place IS NOT NULL AS was_replayed, coalesce(final.id, delivery.id) AS id,
        coalesce(final.outcome, delivery.outcome) AS outcome
    FROM delivery LEFT JOIN final USING (place) WHERE delivery.place NOT IN (SELECT became FROM link)
    QUALIFY row_number() OVER (
        PARTITION BY delivery.place
        ORDER BY list_position(['{ACCEPTED}', '{IN_FLIGHT}', '{EXPIRED}'], final.outcome) NULLS LAST, final.outcome) = 1
)
SELECT outcome, count(*), count(*) FILTER (was_replayed) FROM (
    SELECT was_replayed,
        CASE WHEN outcome = '{ACCEPTED}'
                AND row_number() OVER (PARTITION BY outcome, id ORDER BY was_replayed, place) > 1
            THEN '{DUPLICATE}' ELSE outcome END AS outcome
    FROM event
) GROUP BY outcome ORDER BY outcome
"""
"""Events by outcome, and how many of them are replayed rejects.

`delivery` has a row for each place in the stream: of a place that several generations read, one copy that was not set
aside makes it accepted. `link` leads from a bad record to what it came back as, if that was ingested, or if the stream
was read beyond it, which makes it lost. Of an event that came back several times the best outcome counts.
"""


@dataclass(frozen=True, kw_only=True)
class Account:
    """Events of committed batches by what became of them.

    Attributes:
        accepted: In the curated table.
        duplicate: Further deliveries of those.
        rejected: In `bad-records/`, by reason.
        recovered: Of the accepted and duplicate ones: rejected first, then replayed.
        in_flight: In batches that are not merged yet.
        expired: Of batches so old that `bad-records/` no longer keeps what they had of rejects.
        unaccounted: With no outcome, by what is wrong. Empty when the account closes.
    """

    accepted: int
    duplicate: int
    rejected: dict[str, int]
    recovered: int
    in_flight: int
    expired: int
    unaccounted: dict[str, int]

    @property
    def received(self) -> int:
        """Events of committed batches, each once, however often it was replayed."""
        outcomes = (self.accepted, self.duplicate, *self.rejected.values(), self.in_flight, self.expired)
        return sum(outcomes) + sum(self.unaccounted.values())

    @property
    def closes(self) -> bool:
        """Tell whether every event that was received has an outcome or is under way to one."""
        return not self.unaccounted

    def describe_gap(self) -> str:
        """Return one line for people about what the account lacks."""
        gap = sum(self.unaccounted.values())
        causes = "; ".join(f"{rows:,} {_MEANINGS[what]}" for what, rows in self.unaccounted.items())
        return (
            f"the account does not close: {self.received:,} received, {self.received - gap:,} accounted for: {causes}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "closes": self.closes,
            "received": self.received,
            "accepted": self.accepted,
            "duplicate": self.duplicate,
            "rejected": self.rejected,
            "recovered": self.recovered,
            "in_flight": self.in_flight,
            "expired": self.expired,
            "unaccounted": self.unaccounted,
        }


def take_account(connection: duckdb.DuckDBPyConnection) -> Account:
    """Return the account of what is loaded."""
    counted = connection.execute(_OUTCOMES).fetchall()
    rows = {str(outcome): int(events) for outcome, events, _ in counted}
    for expired, missing in connection.execute("SELECT expired, sum(rows) FROM missing GROUP BY ALL").fetchall():
        outcome = EXPIRED if expired else NOT_FOUND
        rows[outcome] = rows.get(outcome, 0) + int(missing)
    return Account(
        accepted=rows.pop(ACCEPTED, 0),
        duplicate=rows.pop(DUPLICATE, 0),
        recovered=sum(replayed for outcome, _, replayed in counted if outcome in (ACCEPTED, DUPLICATE)),
        in_flight=rows.pop(IN_FLIGHT, 0),
        expired=rows.pop(EXPIRED, 0),
        unaccounted={what: rows.pop(what) for what in _MEANINGS if what in rows},
        rejected=rows,
    )
