"""The truth: what the pipeline must serve and reject, given what was sent and acknowledged. Computed by DuckDB.

Only acknowledged records count. `Truth.check` holds the sum: acknowledged = accepted + duplicates + rejected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import duckdb
import pyarrow as pa

from lakehouse.events import ENRICHMENT_REASONS, INGEST_REASONS
from producers.dimension_files import read_dimensions
from producers.errors import ProducerError
from producers.judgement import judge
from producers.kpi_truth import STATEMENTS
from producers.records import FACTS

if TYPE_CHECKING:
    from pathlib import Path

    from producers.acknowledgements import DeliveryReport

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
SELECT position, kind, expected, outcome, shard_id IS NOT NULL AS acknowledged, shard_id, sequence_number, sent_at,
    event_id, user_id, track_id, make_timestamp(listen_time) AS listen_time
FROM outcomes ORDER BY position
"""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Records by what must become of them.

    Attributes:
        sent: Taken up by delivery.
        acknowledged: Of these, acknowledged by the stream; all figures below are of them.
        accepted: Listens that must be curated, each once.
        duplicates: Further deliveries of the same listen.
        late: Accepted listens that were sent late on purpose.
        dropped_by_validation: Accepted listens that must not count in any KPI.
        rejected: Records that must lie in `bad-records/`, by reason.
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
        counts: Records by outcome.
        genres: One dict per (listen_date, track_genre), with `top_songs`; the average as text with two places.
        top_genres: One dict per listen_date.
        records: One row per record sent: kind, expected outcome, outcome, acknowledgement, position in the stream.
    """

    counts: Counts
    genres: list[dict[str, Any]]
    top_genres: list[dict[str, Any]]
    records: pa.Table

    @property
    def rejects(self) -> list[dict[str, str]]:
        """One dict per rejected record: reason, shard_id, sequence_number; in the order of sending."""
        columns = self.records.select(["outcome", "shard_id", "sequence_number"]).to_pydict()
        rows = zip(*columns.values(), strict=True)
        return [
            {"reason": reason, "shard_id": shard, "sequence_number": number}
            for reason, shard, number in rows
            if reason in REASONS
        ]


def build_sent(facts: pa.Table, report: DeliveryReport) -> pa.Table:
    """Join what records hold with what became of them. One row per record taken up by delivery, in order."""
    sent = facts.slice(0, report.sent)
    sent = sent.append_column("position", pa.array(range(report.sent), pa.int64()))
    sent = sent.append_column("shard_id", pa.array(report.shard_ids, pa.string()))
    sent = sent.append_column("sequence_number", pa.array(report.sequence_numbers, pa.string()))
    return sent.append_column("sent_at", pa.array(report.sent_at, pa.float64()))


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
            names = ", ".join([*FACTS.names, "position", "shard_id", "sequence_number", "sent_at"])
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
            expected=f"{acknowledged} acknowledged records accounted for",
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
