"""Load every stage, compare each with the one before it."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING

import duckdb

from lakehouse.control import CONSUMED, Progress
from listenlake.audit.account import take_account
from listenlake.audit.checks import STAGES, find
from listenlake.audit.deliveries import list_batches, load_acknowledged, load_ingested
from listenlake.audit.kpi_rows import load_curated, load_items, load_kpis
from listenlake.audit.rejects import load_enrichment_rejects, load_ingest_rejects, load_replays
from listenlake.audit.report import AuditReport
from listenlake.audit.schema import prepare

if TYPE_CHECKING:
    import pyarrow as pa
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

    from lakehouse.settings import Places


def audit(
    s3: S3Client, dynamodb: DynamoDBClient, places: Places, *, now: datetime, records: pa.Table | None = None
) -> AuditReport:
    """Audit a pipeline at rest.

    Args:
        s3: S3.
        dynamodb: DynamoDB.
        places: Names of the buckets and tables.
        now: The time, which says whose rejects may have expired.
        records: `Truth.records` of a producer's manifest. Without it nobody knows what was acknowledged, and the
            account begins with the row counts that the streaming job wrote into its manifests.

    Returns:
        The account. Rows are kept in DuckDB as hashes, which spills to disk when memory is short.
    """
    began = time.monotonic()
    with duckdb.connect() as connection:
        prepare(connection)
        if records is not None:
            load_acknowledged(connection, records)
        bucket = places.raw_bucket
        batches = list_batches(s3, bucket, now=now)
        findings = load_ingested(connection, s3, bucket, batches)
        findings += load_ingest_rejects(connection, s3, bucket, batches)
        load_enrichment_rejects(connection, s3, bucket)
        load_replays(connection, s3, bucket)
        load_curated(connection, s3, places.curated_bucket, Progress(dynamodb, places.control_table).read(CONSUMED))
        load_kpis(connection, s3, places)
        load_items(connection, dynamodb, places)
        findings += find(connection, with_truth=records is not None)
        stages = [
            {"stage": name, "rows": rows, "hash": f"{total:016x}"}
            for name, query in STAGES.items()
            if name != "acknowledged" or records is not None
            for rows, total in connection.execute(query).fetchall()
        ]
        account = take_account(connection)
    return AuditReport(stages, account, findings, round(time.monotonic() - began, 3))
