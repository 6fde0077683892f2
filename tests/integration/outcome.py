"""What tests read back, by other means than the jobs: Delta logs and parquet by pyarrow, items and objects by boto3."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
from boto3.dynamodb.types import TypeDeserializer

from lakehouse import layout
from lakehouse.batches import list_files
from tests.integration.records import Row

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

    from lakehouse.settings import Places


@dataclass
class Outcome:
    """What lies in one test's buckets and tables."""

    s3: S3Client
    dynamodb: DynamoDBClient
    places: Places

    def keys(self, prefix: str, *, bucket: str | None = None) -> list[str]:
        """Keys under `prefix`, in order."""
        return [file.key for file, _ in list_files(self.s3, bucket or self.places.raw_bucket, prefix)]

    def read(self, key: str, *, bucket: str | None = None) -> bytes:
        """The object's bytes."""
        return self.s3.get_object(Bucket=bucket or self.places.raw_bucket, Key=key)["Body"].read()

    def delta_files(self, bucket: str, prefix: str) -> dict[str, dict[str, str]]:
        """Active data files of a Delta table with their partition values, by its JSON log."""
        active: dict[str, dict[str, str]] = {}
        for key in self.keys(f"{prefix}_delta_log/", bucket=bucket):
            if not key.endswith(".json"):
                continue
            for line in self.read(key, bucket=bucket).splitlines():
                action = json.loads(line)
                if added := action.get("add"):
                    active[added["path"]] = added["partitionValues"]
                elif removed := action.get("remove"):
                    active.pop(removed["path"], None)
        return active

    def delta_version(self, bucket: str, prefix: str) -> int:
        """Number of the newest commit, by the name of its log file."""
        logs = [key for key in self.keys(f"{prefix}_delta_log/", bucket=bucket) if key.endswith(".json")]
        return max(int(key.rsplit("/", 1)[1].removesuffix(".json")) for key in logs)

    def delta_rows(self, bucket: str, prefix: str) -> list[Row]:
        """Rows of a Delta table, in no order; `listen_date` as a date, other partition columns as text."""
        rows: list[Row] = []
        for path, partition in self.delta_files(bucket, prefix).items():
            values: Row = {**partition}
            if "listen_date" in values:
                values["listen_date"] = date.fromisoformat(values["listen_date"])
            body = self.read(prefix + path, bucket=bucket)
            rows += [{**values, **row} for row in pq.read_table(io.BytesIO(body)).to_pylist()]
        return rows

    def latest(self) -> list[Row]:
        """Curated listens, by time and event."""
        found = self.delta_rows(self.places.curated_bucket, layout.LATEST)
        return sorted(found, key=lambda row: (row["listen_time"], row["event_id"]))

    def latest_files(self, day: str) -> set[str]:
        """Active files of one listen date."""
        files = self.delta_files(self.places.curated_bucket, layout.LATEST)
        return {path for path, partition in files.items() if partition["listen_date"] == day}

    def latest_version(self) -> int:
        """Newest commit of the curated table."""
        return self.delta_version(self.places.curated_bucket, layout.LATEST)

    def consumed(self) -> list[Row]:
        """Rows of the archive of consumed listens, by time and event."""
        found = self.delta_rows(self.places.curated_bucket, layout.ARCHIVE)
        return sorted(found, key=lambda row: (row["listen_time"], row["event_id"]))

    def presentation_versions(self) -> tuple[int, int]:
        """Newest commits of daily_listens and top_genres."""
        bucket = self.places.presentation_bucket
        return self.delta_version(bucket, layout.DAILY_LISTENS), self.delta_version(bucket, layout.TOP_GENRES)

    def rejects(self) -> list[Row]:
        """Records that batch_transform has rejected, by reason and place."""
        folder = f"{layout.BAD_RECORDS}{layout.TRANSFORM_JOB}/generation="
        lines = [line for key in self.keys(folder) for line in self.read(key).splitlines()]
        found = [json.loads(line) for line in lines]
        return sorted(found, key=lambda row: (row["reason"], row["stream"], row["sequence_number"], row["line"]))

    def items(self, table: str) -> list[Row]:
        """Items of a DynamoDB table, by key."""
        plain = TypeDeserializer().deserialize
        pages = self.dynamodb.get_paginator("scan").paginate(TableName=table, ConsistentRead=True)
        found = [{name: plain(value) for name, value in item.items()} for page in pages for item in page["Items"]]
        return sorted(found, key=lambda item: (str(item.get("listen_date")), str(item.get("track_genre"))))

    def genre_items(self) -> dict[tuple[str, str], Row]:
        """Items of the daily genre KPIs by (listen_date, track_genre)."""
        found = self.items(self.places.daily_listens_table)
        return {(item["listen_date"], item["track_genre"]): item for item in found}

    def chart_items(self) -> dict[str, Row]:
        """Items of the top genres by listen_date."""
        return {item["listen_date"]: item for item in self.items(self.places.top_genres_table)}

    def metrics(self) -> list[dict[str, str]]:
        """Lines of validation_metrics.csv."""
        body = self.read(layout.VALIDATION_METRICS_KEY, bucket=self.places.presentation_bucket).decode()
        return list(csv.DictReader(io.StringIO(body, newline="")))
