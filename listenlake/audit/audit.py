"""Load every stage, compare each with the one before it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import duckdb

from lakehouse.control import CONSUMED, Progress
from listenlake.audit.checks import STAGES, find
from listenlake.audit.deliveries import load_acknowledged, load_ingested, load_rejects
from listenlake.audit.kpi_rows import load_curated, load_items, load_kpis
from listenlake.audit.report import AuditReport
from listenlake.audit.schema import prepare

if TYPE_CHECKING:
    import pyarrow as pa
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

    from lakehouse.settings import Places


def audit(s3: S3Client, dynamodb: DynamoDBClient, places: Places, *, records: pa.Table | None = None) -> AuditReport:
    """Audit a pipeline at rest.

    Args:
        s3: S3.
        dynamodb: DynamoDB.
        places: Names of the buckets and tables.
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
        findings = load_ingested(connection, s3, places.raw_bucket)
        load_rejects(connection, s3, places.raw_bucket)
        load_curated(connection, s3, places.curated_bucket, Progress(dynamodb, places.control_table).read(CONSUMED))
        load_kpis(connection, s3, places.presentation_bucket)
        load_items(connection, dynamodb, places)
        findings += find(connection, with_truth=records is not None)
        stages = [
            {"stage": name, "rows": rows, "hash": f"{total:016x}"}
            for name, query in STAGES.items()
            if name != "acknowledged" or records is not None
            for rows, total in connection.execute(query).fetchall()
        ]
        [(in_flight,)] = connection.execute("SELECT count(*) FROM ingested WHERE pending").fetchall()
    return AuditReport(stages, findings, int(in_flight), round(time.monotonic() - began, 3))
