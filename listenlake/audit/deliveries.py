"""What was delivered: the producer's acknowledgements, and the batches as their manifests account for them."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq
from botocore.exceptions import ClientError

from lakehouse import layout
from lakehouse.batches import BY_HAND, READ_THREADS, Manifest, list_files, list_pending, list_transformed, read_manifest
from lakehouse.events import INGEST_REASONS
from listenlake.audit.report import Finding
from listenlake.audit.schema import ID, MINUTE, PLACE, SEQUENCE

if TYPE_CHECKING:
    import duckdb
    from mypy_boto3_s3 import S3Client

INGESTED: Final = "processed-streams"
_IDENTITY: Final = ["event_id", "user_id", "track_id", "listen_time"]
_COLUMNS: Final = [*_IDENTITY, "shard_id", "sequence_number"]


def load_acknowledged(connection: duckdb.DuckDBPyConnection, records: pa.Table) -> None:
    """Fill `acknowledged`: one row per event with a place in the stream, at the minute of its listen.

    An event without a listen time (it is malformed) stands at the minute of its acknowledgement.
    """
    connection.register("records", records)
    connection.execute(
        f"""INSERT INTO acknowledged SELECT {PLACE},
            coalesce({MINUTE}, date_trunc('minute', make_timestamp((acknowledged_at * 1000000)::BIGINT))),
            CASE WHEN list_contains($reasons, outcome) THEN {PLACE} ELSE {ID} END, list_contains($reasons, outcome)
        FROM records WHERE acknowledged""",
        {"reasons": list(INGEST_REASONS)},
    )
    connection.unregister("records")


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A committed batch.

    Attributes:
        manifest: What belongs to it.
        is_pending: It is not merged yet.
        is_archived: Its files lie in the archive.
        is_expired: It is so old that its rejects may be gone.
    """

    manifest: Manifest
    is_pending: bool
    is_archived: bool
    is_expired: bool

    def note_missing(self, connection: duckdb.DuckDBPyConnection, rows: int) -> None:
        """Count rows that the manifest names and no file holds."""
        connection.execute("INSERT INTO missing VALUES (?, ?)", [self.is_expired, rows])


def list_batches(s3: S3Client, bucket: str, *, now: datetime) -> list[Batch]:
    """Return every committed batch, waiting or archived."""
    merged = list_transformed(s3, bucket)
    waiting = [(one, one.id.transformed_key not in merged, False) for one in list_pending(s3, bucket)]
    seen = {manifest.id for manifest, _, _ in waiting}
    keys = [file.key for file, _ in list_files(s3, bucket, layout.ARCHIVES) if file.key.endswith("/" + layout.MANIFEST)]
    with ThreadPoolExecutor(READ_THREADS) as pool:
        archived = [one for one in pool.map(lambda key: read_manifest(s3, bucket, key), keys) if one]
    found = waiting + [(one, False, True) for one in archived if one.id not in seen]
    return [
        Batch(
            manifest=manifest,
            is_pending=is_pending,
            is_archived=is_archived,
            is_expired=now - manifest.committed_at >= layout.BAD_RECORDS_KEPT,
        )
        for manifest, is_pending, is_archived in found
    ]


def load_ingested(
    connection: duckdb.DuckDBPyConnection, s3: S3Client, bucket: str, batches: Iterable[Batch]
) -> list[Finding]:
    """Fill `ingested` from the files that manifests name, one batch at a time.

    Returns:
        Batches whose files are gone or hold other numbers of rows than their manifest says.
    """
    findings = []
    for batch in batches:
        manifest = batch.manifest
        rows = _load_batch(connection, s3, bucket, batch)
        if manifest.rows is not None and rows != manifest.rows:
            if rows < manifest.rows:
                batch.note_missing(connection, manifest.rows - rows)
            findings.append(
                Finding(
                    stage="archives" if batch.is_archived else INGESTED,
                    at=f"{manifest.committed_at:%Y-%m-%dT%H:%M}",
                    what="lost" if rows < manifest.rows else "doubled",
                    expected=f"{manifest.rows} rows by the manifest",
                    found=str(rows),
                    key=manifest.id.path,
                )
            )
    return findings


def note_reached(connection: duckdb.DuckDBPyConnection) -> None:
    """Fill `reached` from the shards and sequence numbers of the registered `file`."""
    connection.execute(f"INSERT INTO reached SELECT shard_id, max({SEQUENCE}) FROM file GROUP BY shard_id")


def _load_batch(connection: duckdb.DuckDBPyConnection, s3: S3Client, bucket: str, batch: Batch) -> int:
    manifest, found = batch.manifest, 0
    for table in _read_files(s3, bucket, manifest, is_archived=batch.is_archived):
        found += len(table)
        connection.register("file", table)
        line = "coalesce(line, 1)" if "line" in table.column_names else "1"
        connection.execute(
            f"""INSERT INTO ingested SELECT $generation, $pending, $expired, {PLACE}, {MINUTE}, {ID}
            FROM (SELECT {", ".join(_COLUMNS[:3])}, listen_time::TIMESTAMPTZ::TIMESTAMP AS listen_time,
                shard_id, sequence_number, {line} AS line FROM file)
            WHERE listen_time IS NOT NULL AND user_id IS NOT NULL AND track_id IS NOT NULL""",
            {"generation": manifest.id.generation, "pending": batch.is_pending, "expired": batch.is_expired},
        )
        note_reached(connection)
        connection.unregister("file")
    return found


def _read_files(s3: S3Client, bucket: str, manifest: Manifest, *, is_archived: bool) -> Iterator[pa.Table]:
    """Yield the files of a batch that are there; one that a hand put there gets its rows' places."""
    by_hand = manifest.id.generation == BY_HAND
    for file in manifest.files:
        name = file.key.removeprefix(layout.PROCESSED).removeprefix(manifest.id.path)
        key = f"{layout.ARCHIVES}{manifest.id.path}{name}" if is_archived else file.key
        try:
            body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchKey":
                raise
            continue
        if by_hand and not body.startswith(b"PAR1"):
            continue
        table = pq.read_table(io.BytesIO(body))
        if by_hand and not {"user_id", "track_id", "listen_time"} <= set(table.column_names):
            continue
        for column in _COLUMNS if by_hand else ():
            if column == "shard_id":
                table = _with(table, column, [file.etag] * len(table))
            elif column == "sequence_number":
                table = _with(table, column, [str(number) for number in range(len(table))])
            elif column not in table.column_names:
                table = _with(table, column, [None] * len(table))
        yield table.select([name for name in (*_COLUMNS, "line") if name in table.column_names])


def _with(table: pa.Table, column: str, values: list[str | None]) -> pa.Table:
    kept = table.drop_columns([column]) if column in table.column_names else table
    return kept.append_column(column, pa.array(values, pa.string()))
