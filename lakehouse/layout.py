"""Where everything lies: buckets by role, prefixes and keys.

    lab3-raw                 users/ songs/ streams/ processed-streams/ bad-records/ replays/ archives/ checkpoints/
    lab3-curated             transformed-data/latest/ transformed-data/archive/ transformed-data/partials/ dimensions/
    lab3-presentation-data   daily_listens/ top_genres/ logs/validation_metrics.csv

The real bucket names carry a settable prefix, because S3 names are global.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

RAW_ROLE: Final = "lab3-raw"
CURATED_ROLE: Final = "lab3-curated"
PRESENTATION_ROLE: Final = "lab3-presentation-data"

USERS_KEY: Final = "users/users.csv"
SONGS_KEY: Final = "songs/songs.csv"
DROPS: Final = "streams/"
PROCESSED: Final = "processed-streams/"
BAD_RECORDS: Final = "bad-records/"
BAD_RECORDS_KEPT: Final = timedelta(days=90)
REPLAYS: Final = "replays/"
ARCHIVES: Final = "archives/"
INGEST_CHECKPOINT: Final = "checkpoints/ingest_listens/"
INGEST_PROGRESS: Final = "checkpoints/ingest_listens/kinesis/"
INGESTED_DROPS: Final = "checkpoints/ingest_listens/drops/"
LATEST: Final = "transformed-data/latest/"
ARCHIVE: Final = "transformed-data/archive/"
PARTIALS: Final = "transformed-data/partials/"
KNOWN_USERS: Final = "dimensions/users/"
KNOWN_SONGS: Final = "dimensions/songs/"
DAILY_LISTENS: Final = "daily_listens/"
TOP_GENRES: Final = "top_genres/"
VALIDATION_METRICS_KEY: Final = "logs/validation_metrics.csv"

MANIFEST: Final = "_MANIFEST.json"
TRANSFORMED: Final = "_TRANSFORMED.json"

INGEST_JOB: Final = "ingest_listens"
TRANSFORM_JOB: Final = "batch_transform"
KPI_JOB: Final = "kpi_transformation"

METRICS_NAMESPACE: Final = "Listenlake"
"""Where CloudWatch keeps the metrics that log lines declare; their dimension is `job`, or the Lambda's `service`."""


def bucket_name(role: str, prefix: str) -> str:
    """Return the real name of the bucket with this role."""
    return f"{prefix}-{role}"


def uri(bucket: str, key: str) -> str:
    """Return the address under which Spark reads or writes `key`; a folder's has no slash at its end."""
    return f"s3://{bucket}/{key.rstrip('/')}"
