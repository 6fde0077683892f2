"""Compare what record processors saw with the producer's ledger, event by event, by position in the stream.

In: the ledger, one row per event sent (`Truth.records`), and the files of observations. Out: a `Verification`.
Nothing is estimated: each acknowledged event is looked for at the position that the stream acknowledged, and each
other event seen is attributed to a record that was sent without an answer, or to nobody.
"""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any, Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.events import derive_event_id
from listenlake.watch.observations import load_seen
from listenlake.watch.verdict import Latency, MinuteFigures, SecondFigures, ShardFigures, Verification

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

SAMPLE: Final = 5
CLOCK_SLACK_MS: Final = 1_000
"""Events that arrived longer than this before the first was sent are not this ledger's."""

POSITION: Final = "shard_id, sequence_number, line"
LEDGER_SQL: Final = """
CREATE TABLE ledger AS
SELECT position, kind, acknowledged, shard_id, sequence_number, line, sent_at, coalesce(unanswered, 0) AS unanswered,
    tries, event_id, user_id
FROM sent
"""
CHECKED_SQL: Final = f"""
CREATE TABLE checked AS
SELECT ledger.*, seen.seen_us IS NOT NULL AS is_seen, seen.event_id AS seen_id, arrived_ms, seen_us, sightings,
    concat_ws('/', {POSITION}) AS place, seen_us / 1000.0 - arrived_ms AS latency_ms,
    seen_us / 1000.0 - sent_at * 1000.0 AS sent_to_seen_ms
FROM ledger LEFT JOIN seen USING ({POSITION})
WHERE acknowledged
"""  # noqa: S608 - constants
EXTRAS_SQL: Final = f"""
CREATE TABLE extras AS
SELECT seen.* FROM seen ANTI JOIN (FROM ledger WHERE acknowledged) AS acked USING ({POSITION})
WHERE arrived_ms >= (SELECT min(sent_at) FROM ledger) * 1000 - {CLOCK_SLACK_MS}
"""  # noqa: S608 - constants
TOTALS_SQL: Final = """
SELECT count(*), count(*) FILTER (is_seen),
    count(*) FILTER (is_seen AND event_id IS NOT NULL AND event_id IS DISTINCT FROM seen_id),
    count(event_id) - count(DISTINCT event_id),
    count(*) FILTER (is_seen AND event_id IS NOT NULL)
        - count(DISTINCT coalesce(seen_id, place)) FILTER (is_seen AND event_id IS NOT NULL)
FROM checked
"""
# Each event id has two allowances: copies that a lost answer explains, and copies of records never acknowledged.
COPIES_SQL: Final = """
WITH allowances AS (
    SELECT event_id, sum(unanswered) AS resent, count(*) FILTER (NOT acknowledged) AS unacknowledged
    FROM ledger WHERE event_id IS NOT NULL GROUP BY event_id
),
copies AS (SELECT event_id, count(*) AS copies FROM extras GROUP BY event_id),
known AS (
    SELECT copies, least(copies, resent) AS twice, least(copies - least(copies, resent), unacknowledged) AS unsaid
    FROM copies JOIN allowances USING (event_id)
)
SELECT coalesce(sum(twice), 0), coalesce(sum(unsaid), 0), coalesce(sum(copies - twice - unsaid), 0),
    coalesce(sum(copies), 0)
FROM known
"""
# Malformed events have no id to know them by: as many strangers as could be theirs are taken for theirs.
MALFORMED_SQL: Final = """
SELECT coalesce(sum(unanswered), 0), count(*) FILTER (NOT acknowledged) FROM ledger WHERE event_id IS NULL
"""
SEEN_SQL: Final = "SELECT count(*), coalesce(sum(sightings - 1), 0), (SELECT count(*) FROM extras) FROM seen"
ORDER_SQL: Final = """
WITH followed AS (
    SELECT position, tries, lag(position) OVER seen_order AS before, lag(tries) OVER seen_order AS tries_before
    FROM checked WHERE is_seen AND user_id IS NOT NULL
    WINDOW seen_order AS (
        PARTITION BY shard_id, user_id ORDER BY seen_us, length(sequence_number), sequence_number, line
    )
)
SELECT count(*) FILTER (tries = 1 AND tries_before = 1), count(*) FILTER (tries > 1 OR tries_before > 1)
FROM followed WHERE before > position
"""
MINUTES_SQL: Final = """
WITH ids AS (
    SELECT floor(sent_at / 60) * 60 AS minute, is_seen, hash(coalesce(event_id, place)) AS sent_hash,
        hash(CASE WHEN event_id IS NULL THEN place ELSE coalesce(seen_id, '') END) AS seen_hash
    FROM checked
)
SELECT strftime(make_timestamp(CAST(minute AS BIGINT) * 1000000), '%Y-%m-%dT%H:%MZ'), count(*),
    count(*) FILTER (is_seen),
    count(*) = count(*) FILTER (is_seen)
        AND sum(CAST(sent_hash AS HUGEINT)) % 18446744073709551616
            = coalesce(sum(CAST(seen_hash AS HUGEINT)) FILTER (is_seen), 0) % 18446744073709551616
FROM ids GROUP BY minute ORDER BY minute
"""
SHARDS_SQL: Final = """
SELECT shard_id, count(*), count(*) FILTER (is_seen), count(*) FILTER (NOT is_seen),
    round(quantile_cont(latency_ms, 0.5), 1), round(quantile_cont(latency_ms, 0.99), 1)
FROM checked GROUP BY shard_id ORDER BY shard_id
"""
SERIES_SQL: Final = """
SELECT CAST(floor(sent_at - (SELECT min(sent_at) FROM checked)) AS BIGINT) AS second, count(*),
    round(quantile_cont(latency_ms, 0.5), 1), round(quantile_cont(latency_ms, 0.95), 1)
FROM checked WHERE is_seen GROUP BY second ORDER BY second
"""
MISSING_SQL: Final = """
SELECT format('{} ({}) at {}', position, kind, place) FROM checked WHERE NOT is_seen ORDER BY position LIMIT $sample
"""
LATENCY_SQL: Final = "SELECT quantile_cont({column}, [0.5, 0.95, 0.99]), max({column}) FROM checked"
COUNT_MISSING_SQL: Final = f"""
SELECT count(*) FROM (FROM sent WHERE acknowledged) AS acked ANTI JOIN seen USING ({POSITION})
"""  # noqa: S608 - constants


def verify(ledger: pa.Table, observations: Path, *, restarts: int = 0) -> Verification:
    """Compare a ledger with what was seen.

    Args:
        ledger: One row per event sent, as `Truth.records` has it.
        observations: Folder of the processors' files.
        restarts: Daemons that were started again, for the report.
    """
    with _connect(ledger, observations) as connection:
        for statement in (LEDGER_SQL, CHECKED_SQL, EXTRAS_SQL):
            connection.execute(statement)
        expected, seen, altered, injected, repeated = _one(connection, TOTALS_SQL)
        twice, unsaid, unexplained, known = _one(connection, COPIES_SQL)
        resent, unacknowledged = _one(connection, MALFORMED_SQL)
        positions, redelivered, extras = _one(connection, SEEN_SQL)
        strangers = extras - known
        strangers_twice = min(strangers, resent)
        strangers_unsaid = min(strangers - strangers_twice, unacknowledged)
        disorder, disorder_resent = _one(connection, ORDER_SQL)
        return Verification(
            expected=expected,
            seen=seen,
            altered=altered,
            missing_sample=tuple(row[0] for row in connection.execute(MISSING_SQL, {"sample": SAMPLE}).fetchall()),
            duplicates_injected=injected,
            duplicates_found=repeated + unexplained,
            sent_twice=twice + strangers_twice,
            unacknowledged=unsaid + strangers_unsaid,
            other=positions - seen - known - strangers_twice - strangers_unsaid,
            redelivered=redelivered,
            out_of_order=disorder,
            out_of_order_resent=disorder_resent,
            restarts=restarts,
            latency_ms=_latency(connection, "latency_ms"),
            sent_to_seen_ms=_latency(connection, "sent_to_seen_ms"),
            shards=tuple(_rows(connection, SHARDS_SQL, ShardFigures)),
            minutes=tuple(_rows(connection, MINUTES_SQL, MinuteFigures)),
            series=tuple(_rows(connection, SERIES_SQL, SecondFigures)),
        )


def count_acknowledged(ledger: pa.Table) -> int:
    """Return the number of acknowledged events of a ledger."""
    return int(pc.sum(ledger["acknowledged"]).as_py() or 0)


def count_missing(ledger: pa.Table, observations: Path) -> int:
    """Return the number of acknowledged events not seen yet."""
    with _connect(ledger.select(["acknowledged", "shard_id", "sequence_number", "line"]), observations) as connection:
        return _one(connection, COUNT_MISSING_SQL)[0]


def _connect(ledger: pa.Table, observations: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config={"threads": 2})
    connection.execute("SET TimeZone = 'UTC'")
    connection.register("sent", _with_derived_ids(ledger))
    load_seen(connection, observations)
    return connection


def _with_derived_ids(ledger: pa.Table) -> pa.Table:
    """Return the ledger with the ids that readable events without one are given."""
    if "event_id" not in ledger.column_names:
        return ledger
    bare = pc.and_(pc.is_null(ledger["event_id"]), pc.is_valid(ledger["user_id"]))
    if not pc.any(bare).as_py():
        return ledger
    rows = ledger.select(["event_id", "user_id", "track_id", "listen_time"]).to_pylist()
    ids = pa.array([row["event_id"] or _derive(**row) for row in rows], pa.string())
    return ledger.set_column(ledger.column_names.index("event_id"), "event_id", ids)


def _derive(event_id: None, user_id: int | None, track_id: str | None, listen_time: datetime | None) -> str | None:
    if user_id is None or track_id is None or listen_time is None:
        return event_id
    return derive_event_id(user_id, track_id, listen_time.replace(tzinfo=UTC))


def _latency(connection: duckdb.DuckDBPyConnection, column: str) -> Latency:
    quantiles, highest = connection.execute(LATENCY_SQL.format(column=column)).fetchall()[0]
    p50, p95, p99, top = (None if value is None else round(value, 1) for value in (*(quantiles or [None] * 3), highest))
    return Latency(p50=p50, p95=p95, p99=p99, max=top)


def _one(connection: duckdb.DuckDBPyConnection, statement: str) -> tuple[int, ...]:
    return tuple(int(value) for value in connection.execute(statement).fetchall()[0])


def _rows(connection: duckdb.DuckDBPyConnection, statement: str, kind: type[Any]) -> list[Any]:
    rows = connection.execute(statement).fetchall()
    names = list(kind.__dataclass_fields__)
    return [kind(**dict(zip(names, row, strict=True))) for row in rows]
