"""The tables of an audit, and the two expressions that all stages share: a listen's minute and its id hash."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from duckdb.sqltypes import BIGINT, VARCHAR

from lakehouse.events import derive_event_id

if TYPE_CHECKING:
    import duckdb

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
TABLES: Final = """
CREATE TABLE acknowledged (place UBIGINT, minute TIMESTAMP, id UBIGINT, rejected BOOLEAN);
CREATE TABLE ingested (
    generation VARCHAR, pending BOOLEAN, expired BOOLEAN, place UBIGINT, minute TIMESTAMP, id UBIGINT
);
CREATE TABLE ingest_rejects (place UBIGINT, reason VARCHAR);
CREATE TABLE enrichment_rejects (place UBIGINT, id UBIGINT, reason VARCHAR);
CREATE TABLE missing (expired BOOLEAN, rows BIGINT);
CREATE TABLE reached (shard_id VARCHAR, sequence VARCHAR);
CREATE TABLE replays (place UBIGINT, became UBIGINT, shard_id VARCHAR, sequence VARCHAR);
CREATE TABLE curated (
    is_latest BOOLEAN, is_consumed BOOLEAN, minute TIMESTAMP, id UBIGINT, listen_date VARCHAR, track_genre VARCHAR,
    user_id BIGINT, track_id VARCHAR, duration_ms BIGINT, valid BOOLEAN
);
CREATE TABLE kpis (stage VARCHAR, listen_date VARCHAR, key VARCHAR, sums VARCHAR, item VARCHAR);
"""
"""`kpis` has a row for each item of a day: `sums` is what the listens must give, `item` all that is served of it.

`expired` says that a batch is older than what `bad-records/` keeps; `missing` counts rows that manifests name and files
lack; `reached` has sequence numbers up to which a shard was ingested; `replays` leads from bad record to new place.
"""

MINUTE: Final = "date_trunc('minute', listen_time)"
ID: Final = """hash(coalesce(event_id, derived_id(user_id, track_id, epoch_us(listen_time))), user_id, track_id,
    epoch_us(listen_time))"""
PLACE: Final = "hash(shard_id, sequence_number, line::INTEGER)"
SEQUENCE: Final = "lpad(sequence_number, 60, '0')"
"""A sequence number as text that sorts as the number does."""
SUM: Final = "(coalesce(sum(id), 0) % 18446744073709551616::HUGEINT)::UBIGINT"
"""Sum of id hashes modulo 2^64."""


def prepare(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the tables of an audit, empty."""
    connection.execute("SET TimeZone = 'UTC'")
    connection.create_function("derived_id", _derived_id, [BIGINT, VARCHAR, BIGINT], VARCHAR)
    connection.execute(TABLES)


def _derived_id(user_id: int, track_id: str, micros: int) -> str:
    return derive_event_id(user_id, track_id, EPOCH + timedelta(microseconds=micros))
