"""What became of the deliveries: curated listens, the KPIs of the presentation tables, and what DynamoDB serves."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from lakehouse.delta_log import read_snapshot
from lakehouse.delta_rows import SmallTable
from lakehouse.lake_tables import DAILY_LISTENS, LATEST, TOP_GENRES
from listenlake.audit.schema import ID, MINUTE
from listenlake.served import read_served

if TYPE_CHECKING:
    import duckdb
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

    from lakehouse.settings import Places

CHART: Final = ""
"""Key of a day's top genres among the items of that day."""
_LISTEN: Final = ["event_id", "user_id", "track_id", "listen_time", "track_genre", "track_name", "duration_ms"]


def load_curated(connection: duckdb.DuckDBPyConnection, s3: S3Client, bucket: str, consumed: int | None) -> None:
    """Fill `curated` from the files of the newest version and of the one that the KPIs have consumed."""
    newest = read_snapshot(s3, bucket, LATEST.prefix)
    if newest is None:
        return
    before = newest if consumed is None else read_snapshot(s3, bucket, LATEST.prefix, version=consumed)
    earlier = before.files if before else {}
    for key, file in {**newest.files, **earlier}.items():
        body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        connection.register("file", pq.read_table(io.BytesIO(body), columns=_LISTEN))
        connection.execute(
            f"""INSERT INTO curated SELECT $latest, $consumed, {MINUTE}, {ID}, $day, track_genre, user_id, track_id,
                duration_ms, NOT regexp_full_match(coalesce(track_name, ''), '\\s*')
                    AND NOT regexp_full_match(coalesce(track_genre, ''), '\\s*')
                    AND user_id IS NOT NULL AND coalesce(duration_ms, 0) > 0
            FROM (SELECT * REPLACE (listen_time::TIMESTAMPTZ::TIMESTAMP AS listen_time) FROM file)""",
            {"latest": key in newest.files, "consumed": key in earlier, "day": file.partition["listen_date"]},
        )
        connection.unregister("file")


def load_kpis(connection: duckdb.DuckDBPyConnection, s3: S3Client, places: Places) -> None:
    """Fill `kpis` with the rows of the presentation tables, stage `kpis`."""
    rows = []
    for table in (DAILY_LISTENS, TOP_GENRES):
        if snapshot := read_snapshot(s3, table.bucket(places), table.prefix):
            for some in SmallTable(s3, table, places).read(snapshot):
                rows += some.to_pylist()
    _insert(connection, "kpis", rows)


def load_items(connection: duckdb.DuckDBPyConnection, dynamodb: DynamoDBClient, places: Places) -> None:
    """Fill `kpis` with the items of both DynamoDB tables, stage `dynamodb`; a tombstone is no item."""
    served = read_served(dynamodb, places)
    _insert(connection, "dynamodb", [*served.genres, *served.charts])


def _insert(connection: duckdb.DuckDBPyConnection, stage: str, rows: Iterable[dict[str, Any]]) -> None:
    texts = [_texts(stage, row) for row in rows]
    names = ("stage", "listen_date", "key", "sums", "item")
    table = pa.Table.from_pylist(texts, pa.schema([(name, pa.string()) for name in names]))
    connection.register("rows", table)
    connection.execute("INSERT INTO kpis SELECT * FROM rows")
    connection.unregister("rows")


def _texts(stage: str, row: dict[str, Any]) -> dict[str, str]:
    day, is_chart = str(row["listen_date"]), "track_genre" not in row
    if is_chart:
        sums = ", ".join(f"{one['track_genre']} {one['listen_count']}" for one in row["top_genres"])
        item = _canonical(row["top_genres"])
    else:
        songs = ", ".join(f"{one['track_id']} {one['plays']}" for one in row["top_songs"])
        counts = [row[name] for name in ("listen_count", "unique_listeners", "total_listening_time_ms")]
        sums = "{} listens, {} listeners, {} ms; ".format(*counts) + songs
        item = f"{sums}; average {Decimal(row['avg_listening_time_per_user_ms']):.2f}; {_canonical(row['top_songs'])}"
    return {
        "stage": stage,
        "listen_date": day,
        "key": CHART if is_chart else row["track_genre"],
        "sums": sums,
        "item": item,
    }


def _canonical(entries: list[dict[str, Any]]) -> str:
    """Render a chart as text; a value that is null is not in an item at all or is its null."""
    kept = [{name: value for name, value in entry.items() if value is not None} for entry in entries]
    return json.dumps(kept, default=int, ensure_ascii=False, sort_keys=True)
