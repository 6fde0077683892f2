"""What was set aside, as the batches' manifests and `batch_transform` account for it, and what came back of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
from botocore.exceptions import ClientError

from lakehouse import layout
from lakehouse.batches import list_files
from listenlake.audit.deliveries import Batch, note_reached
from listenlake.audit.report import Finding
from listenlake.audit.schema import ID, PLACE, SEQUENCE
from listenlake.replay_log import read_entries

if TYPE_CHECKING:
    import duckdb
    from mypy_boto3_s3 import S3Client

BAD_RECORDS: Final = "bad-records"
READ_BYTES: Final = 1024 * 1024
_TEXT: Final = pa.string()
_PLACE: Final = pa.schema([("shard_id", _TEXT), ("sequence_number", _TEXT), ("line", pa.int32())])
_REJECT: Final = _PLACE.append(pa.field("reason", _TEXT))
_LISTEN: Final = pa.schema([("event_id", _TEXT), ("user_id", pa.int64()), ("track_id", _TEXT), ("listen_time", _TEXT)])
_REPLAY: Final = _PLACE.append(pa.field("became", pa.struct(list(_PLACE))))


def load_ingest_rejects(
    connection: duckdb.DuckDBPyConnection, s3: S3Client, bucket: str, batches: Iterable[Batch]
) -> list[Finding]:
    """Fill `ingest_rejects` from the files that manifests name.

    Returns:
        Batches that have other numbers of rejects of a reason than their manifest says, unless they may have expired.
    """
    findings = []
    for batch in batches:
        found: Counter[str] = Counter()
        for file in batch.manifest.rejects:
            rejects = _read_lines(s3, bucket, file.key)
            found.update(one["reason"] for one in rejects)
            connection.register("file", _table(rejects, _REJECT))
            connection.execute(f"INSERT INTO ingest_rejects SELECT {PLACE}, reason FROM file")
            note_reached(connection)
            connection.unregister("file")
        for reason in sorted(batch.manifest.rejected.keys() | found.keys()):
            expected = batch.manifest.rejected.get(reason, 0)
            if found[reason] < expected:
                batch.note_missing(connection, expected - found[reason])
            if found[reason] != expected and not batch.is_expired:
                findings.append(
                    Finding(
                        stage=BAD_RECORDS,
                        at=f"{batch.manifest.committed_at:%Y-%m-%dT%H:%M}",
                        what="lost" if found[reason] < expected else "doubled",
                        expected=f"{expected} {reason} by the manifest",
                        found=str(found[reason]),
                        key=batch.manifest.id.path,
                    )
                )
    return findings


def load_enrichment_rejects(connection: duckdb.DuckDBPyConnection, s3: S3Client, bucket: str) -> None:
    """Fill `enrichment_rejects`; the id is null of what was put by hand without a user, track or time."""
    for file, _ in list_files(s3, bucket, f"{layout.BAD_RECORDS}{layout.TRANSFORM_JOB}/generation="):
        if not file.key.endswith(".json"):
            continue
        rejects = _read_lines(s3, bucket, file.key)
        rows = [json.loads(one["payload"]) | one for one in rejects]
        connection.register("file", _table(rows, pa.unify_schemas([_REJECT, _LISTEN])))
        connection.execute(
            f"""INSERT INTO enrichment_rejects SELECT {PLACE}, CASE WHEN listen_time IS NOT NULL THEN {ID} END, reason
            FROM (SELECT * REPLACE (listen_time::TIMESTAMPTZ::TIMESTAMP AS listen_time) FROM file)"""
        )
        connection.unregister("file")


def load_replays(connection: duckdb.DuckDBPyConnection, s3: S3Client, bucket: str) -> None:
    """Fill `replays`: one row per event that was sent again and whose new place is known."""
    rows = [
        {**entry.position._asdict(), "became": entry.became._asdict()}
        for entry in read_entries(s3, bucket)
        if entry.became is not None
    ]
    connection.register("file", pa.Table.from_pylist(rows, _REPLAY))
    connection.execute(
        f"""INSERT INTO replays SELECT DISTINCT place, {PLACE}, shard_id, {SEQUENCE} FROM (
            SELECT {PLACE} AS place, unnest(became) FROM file)"""
    )
    connection.unregister("file")


def _read_lines(s3: S3Client, bucket: str, key: str) -> list[dict[str, Any]]:
    """Return the records of a file, none where it is gone."""
    try:
        body = s3.get_object(Bucket=bucket, Key=key)["Body"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchKey":
            raise
        return []
    return [json.loads(line) for line in body.iter_lines(READ_BYTES)]


def _table(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Return rows as a table; what was written before a record could hold several events is on line 1."""
    return pa.Table.from_pylist([{"line": 1, **row} for row in rows], schema)
