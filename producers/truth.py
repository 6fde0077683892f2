"""The truth: what the pipeline must serve and reject, given what was sent and acknowledged. Computed by DuckDB.

Only acknowledged events count. `Truth.check` holds the sum: acknowledged = accepted + duplicates + rejected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.events import ENRICHMENT_REASONS, INGEST_REASONS
from producers.dimension_files import read_dimensions
from producers.errors import ProducerError
from producers.judgement import judge
from producers.kpi_truth import STATEMENTS
from producers.ledger import LEDGER
from producers.records import FACTS

if TYPE_CHECKING:
    from pathlib import Path

REASONS: Final = (*INGEST_REASONS, *ENRICHMENT_REASONS)

GENRES_SQL: Final = """
SELECT CAST(listen_date AS VARCHAR), track_genre, listen_count, unique_listeners,
    CAST(total_listening_time_ms AS BIGINT), avg_listening_time_per_user_ms,
    (SELECT list({'rank': rank, 'track_id': track_id, 'track_name': track_name, 'artists': artists, 'plays': plays}
        ORDER BY rank) FROM top_songs
        WHERE top_songs.listen_date = genres.listen_date AND top_songs.track_genre = genres.track_genre)
FROM genres ORDER BY listen_date, track_genre
"""
GENRES_COLUMNS: Final = (
    "listen_date",
    "track_genre",
    "listen_count",
    "unique_listeners",
    "total_listening_time_ms",
    "avg_listening_time_per_user_ms",
    "top_songs",
)
TOP_GENRES_SQL: Final = """
SELECT CAST(listen_date AS VARCHAR),
    list({'rank': rank, 'track_genre': track_genre, 'listen_count': listen_count} ORDER BY rank)
FROM top_genres GROUP BY listen_date ORDER BY listen_date
"""
TOTALS_SQL: Final = """
SELECT count(*), count(shard_id), count(*) FILTER (outcome = 'accepted'), count(*) FILTER (outcome = 'duplicate'),
    count(*) FILTER (outcome = 'accepted' AND kind = 'late'), (SELECT count(*) FROM valid_listens)
FROM outcomes
"""
REJECTED_SQL: Final = (
    "SELECT outcome, count(*) FROM outcomes WHERE outcome IN (SELECT unnest($reasons)) GROUP BY outcome"
)
RECORDS_SQL: Final = """
SELECT position, kind, expected, outcome, shard_id IS NOT NULL AS acknowledged, shard_id, sequence_number, line,
    sent_at, acknowledged_at, tries, unanswered,
    event_id, user_id, track_id, make_timestamp(listen_time) AS listen_time
FROM outcomes ORDER BY position
"""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Events by what must become of them.

    Attributes:
        sent: Taken up by delivery.
        acknowledged: Of these, acknowledged by the stream; all figures below are of them.
        accepted: Listens that must be curated, each once.
        duplicates: Further deliveries of the same listen.
        late: Accepted listens that were sent late on purpose.
        dropped_by_validation: Accepted listens that must not count in any KPI.
        rejected: Events that must lie in `bad-records/`, by reason.
    """

    sent: int
    acknowledged: int
    accepted: int
    duplicates: int
    late: int
    dropped_by_validation: int
    rejected: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What must result.

    Attributes:
        counts: Events by outcome.
        genres: One dict per (listen_date, track_genre), with `top_songs`; the average as text with two places.
        top_genres: One dict per listen_date.
        records: One row per event taken up by delivery: kind, expected outcome, outcome, place in the stream (shard,
            sequence number and line; null where not acknowledged), times of sending and of the acknowledgement, calls
            that carried it (`tries`) and those that got no answer (`unanswered`).
    """

    counts: Counts
    genres: list[dict[str, Any]]
    top_genres: list[dict[str, Any]]
    records: pa.Table

    @property
    def rejects(self) -> list[dict[str, Any]]:
        """One dict per rejected event: reason, shard_id, sequence_number, line; in the order of position."""
        rejected = pc.is_in(self.records["outcome"], pa.array(REASONS))
        columns = ["outcome", "shard_id", "sequence_number", "line"]
        return list(self.records.filter(rejected).select(columns).rename_columns(["reason", *columns[1:]]).to_pylist())


def build_sent(facts: pa.Table, ledger: pa.Table) -> pa.Table:
    """Join what events hold with what became of them. One row per event taken up by delivery, in order of position.

    Args:
        facts: One row per event of the source, by `records.FACTS` or `records.RAW_FACTS`.
        ledger: One row per event taken up, by `ledger.LEDGER`: any of them, in order of position.

    Raises:
        ProducerError: The ledger is not in order, or has a position that the source has not.
    """
    positions = ledger["position"].to_numpy()
    if positions.size and (positions[0] < 0 or positions[-1] >= len(facts) or (np.diff(positions) <= 0).any()):
        raise ProducerError(
            expected=f"ascending positions of {len(facts)} events in the ledger",
            found=f"{positions.size} from {positions[0]} to {positions[-1]}, some out of place",
            do="This is a defect of the delivery; report it with the seed.",
        )
    taken_up = np.zeros(len(facts), bool)
    taken_up[positions] = True
    # Not `take`, which joins the chunks of a column and can't hold more than 2 GiB of text in one.
    sent = facts.filter(pa.array(taken_up))
    for name in LEDGER.names:
        sent = sent.append_column(name, ledger[name])
    return sent


def compute_truth(sent: pa.Table, *, users_csv: Path, songs_csv: Path) -> Truth:
    """Compute what must result.

    Args:
        sent: What `build_sent` returned, over facts by `records.FACTS` or `records.RAW_FACTS`.
        users_csv: The users that the pipeline joins with.
        songs_csv: The songs that the pipeline joins with.

    Raises:
        ProducerError: A dimension file can't be used, or the outcomes don't add up.
    """
    with duckdb.connect(config={"threads": 2}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("sent", sent)
        if "kind" in sent.column_names:
            names = ", ".join([*FACTS.names, *LEDGER.names])
            connection.execute(f"CREATE TABLE records AS SELECT {names} FROM sent")  # noqa: S608
        else:
            judge(connection)
        read_dimensions(connection, users_csv, songs_csv)
        for statement in STATEMENTS:
            connection.execute(statement)
        genres = connection.execute(GENRES_SQL).fetchall()
        charts = connection.execute(TOP_GENRES_SQL).fetchall()
        return Truth(
            counts=_count(connection),
            genres=[dict(zip(GENRES_COLUMNS, row, strict=True)) for row in genres],
            top_genres=[{"listen_date": day, "top_genres": chart} for day, chart in charts],
            records=connection.sql(RECORDS_SQL).to_arrow_table(),
        )


def _count(connection: duckdb.DuckDBPyConnection) -> Counts:
    totals = connection.execute(TOTALS_SQL).fetchall()[0]
    sent, acknowledged, accepted, duplicates, late, valid = (int(total) for total in totals)
    found = dict(connection.execute(REJECTED_SQL, {"reasons": list(REASONS)}).fetchall())
    rejected = {reason: int(found[reason]) for reason in REASONS if reason in found}
    if acknowledged != accepted + duplicates + sum(rejected.values()):
        raise ProducerError(
            expected=f"{acknowledged} acknowledged events accounted for",
            found=f"{accepted} accepted, {duplicates} duplicates, {sum(rejected.values())} rejected",
            do="This is a defect of the truth; report it with the seed.",
        )
    return Counts(
        sent=sent,
        acknowledged=acknowledged,
        accepted=accepted,
        duplicates=duplicates,
        late=late,
        dropped_by_validation=accepted - valid,
        rejected=rejected,
    )
