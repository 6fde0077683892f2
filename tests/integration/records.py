"""What tests put in: deliveries and songs as rows, and rows as files."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from lakehouse.events import derive_event_id

Row = dict[str, Any]
CLOCK: Final = datetime(2024, 7, 1, 12, 0, 0, tzinfo=UTC)
ARRIVAL: Final = datetime(2024, 6, 30, 12, 0, 0, tzinfo=UTC)
PROCESSED_SCHEMA: Final = pa.schema(
    [
        ("event_id", pa.string()),
        ("user_id", pa.int64()),
        ("track_id", pa.string()),
        ("listen_time", pa.timestamp("us", tz="UTC")),
        ("schema_version", pa.int64()),
        ("played_ms", pa.int64()),
        ("platform", pa.string()),
        ("session_id", pa.string()),
        ("extra", pa.map_(pa.string(), pa.string())),
        ("stream", pa.string()),
        ("shard_id", pa.string()),
        ("sequence_number", pa.string()),
        ("line", pa.int32()),
        ("arrived_at", pa.timestamp("us", tz="UTC")),
    ]
)
"""`PROCESSED_LISTENS`, written down a second time."""

USERS_HEADER: Final = ("user_id", "user_name", "user_age", "user_country", "created_at")
SONGS_HEADER: Final = ("id", "track_id", "artists", "album_name", "track_name", "popularity", "duration_ms", "explicit")
SONGS_HEADER_ALL: Final = (*SONGS_HEADER, "track_genre")


def listen(
    user_id: int,
    track_id: str,
    time: str,
    *,
    event_id: str | None = None,
    sequence: int | str = "1",
    line: int = 1,
    arrived_at: datetime = ARRIVAL,
    **others: Any,
) -> Row:
    """One delivery as the streaming job writes it; `time` is ISO 8601 in UTC, without an offset."""
    moment = datetime.fromisoformat(time).replace(tzinfo=UTC)
    return {
        "event_id": event_id or derive_event_id(user_id, track_id, moment),
        "user_id": user_id,
        "track_id": track_id,
        "listen_time": moment,
        "stream": "listens",
        "shard_id": "shardId-000000000000",
        "sequence_number": str(sequence),
        "line": line,
        "arrived_at": arrived_at,
        **others,
    }


def song(
    number: int, track_id: str, *, genre: str | None = "rock", duration_ms: int | str | None = 1000, **cells: Any
) -> Row:
    """One row of songs.csv."""
    return {
        "id": number,
        "track_id": track_id,
        "artists": f"artist of {track_id}",
        "album_name": "album",
        "track_name": f"name of {track_id}",
        "popularity": 50,
        "duration_ms": duration_ms,
        "explicit": "False",
        "track_genre": genre,
        **cells,
    }


def to_csv(header: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as RFC 4180 text."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(header), restval="", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def to_parquet(table: pa.Table) -> bytes:
    """The table as the bytes of a parquet file."""
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def without(rows: Iterable[Mapping[str, Any]], *names: str) -> list[Row]:
    """The rows without some of their columns."""
    return [{name: value for name, value in row.items() if name not in names} for row in rows]
