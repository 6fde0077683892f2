"""The jobs in this process: one Spark session for all tests, and a laboratory of its own for each test.

A laboratory has three buckets and three tables that nobody else uses. What a test reads back it reads by other means
than the jobs: Delta logs and parquet by pyarrow, items and objects by boto3.
"""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from boto3.dynamodb.types import TypeDeserializer

from batch_jobs import batch_transform, kpi_transformation
from lakehouse import layout
from lakehouse.batches import BatchFile, BatchId, Manifest, commit_manifest, list_files
from lakehouse.boundaries import Boundaries
from lakehouse.events import derive_event_id
from lakehouse.jobs import Run, leased_run
from lakehouse.settings import IngestSettings, JobSettings, KpiSettings, Places, TransformSettings
from lakehouse.spark import build_session
from streaming_jobs.csv_drops import DropIngestion
from streaming_jobs.micro_batches import MicroBatchSink

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client
    from pyspark.sql import DataFrame, SparkSession

    from local_cloud.cloud import Cloud

Row = dict[str, Any]
FOR_TENS_OF_ROWS: Final = {
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
}
"""Compiling a query takes longer than running it over so few rows; the e2e tests run the jobs as they are shipped."""
S = TypeVar("S", bound=JobSettings)

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


class Crash(BaseException):
    """The end of a run at a boundary."""


@contextmanager
def spark_session(environment: Mapping[str, str]) -> Iterator[SparkSession]:
    """A session whose JVM was started with `environment`; JVM and sockets are gone afterwards."""
    from pyspark import SparkContext  # noqa: PLC0415 - slow, and only who runs Spark pays

    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        session = build_session("tests")
    for name, value in FOR_TENS_OF_ROWS.items():
        session.conf.set(name, value)
    try:
        yield session
    finally:
        session.stop()
        gateway: Any = SparkContext._gateway
        gateway.shutdown()
        jvm: subprocess.Popen[bytes] = gateway.proc
        if jvm.stdin is not None:
            jvm.stdin.close()
        jvm.wait(30)
        SparkContext._gateway = SparkContext._jvm = None
        os.environ.pop("PYSPARK_GATEWAY_PORT", None)


def forget_tables(spark: SparkSession) -> None:
    """Empty the caches that would hold every Delta table of every test until the heap is full."""
    jvm: Any = spark._jvm
    jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()
    spark.catalog.clearCache()


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


@dataclass
class Lab:
    """One test's buckets and tables, and the jobs that work on them."""

    spark: SparkSession
    s3: S3Client
    dynamodb: DynamoDBClient
    places: Places
    now: datetime = CLOCK
    _runs: int = 0
    _written: int = field(default=0)

    # -- inputs ---------------------------------------------------------------------------------------------------

    def put(self, key: str, body: bytes | str, *, bucket: str | None = None) -> str:
        """Write an object and return its ETag."""
        data = body.encode() if isinstance(body, str) else body
        answer = self.s3.put_object(Bucket=bucket or self.places.raw_bucket, Key=key, Body=data)
        return answer["ETag"].strip('"')

    def put_users(self, *user_ids: int) -> None:
        """Write users.csv."""
        rows = [
            {"user_id": one, "user_name": f"user {one}", "user_age": 30, "user_country": "Ghana"} for one in user_ids
        ]
        self.put(layout.USERS_KEY, to_csv(USERS_HEADER, rows))

    def put_songs(self, *songs: Row) -> None:
        """Write songs.csv."""
        self.put(layout.SONGS_KEY, to_csv(SONGS_HEADER_ALL, songs))

    def put_batch(
        self,
        number: int,
        *listens: Row,
        attempt: str = "attempt=a",
        files: int = 1,
        schema: pa.Schema = PROCESSED_SCHEMA,
    ) -> Manifest:
        """Commit a micro-batch as the streaming job does: parquet first, manifest last."""
        batch = BatchId("0b6e", str(number))
        written = []
        for part in range(files):
            key = f"{layout.PROCESSED}{batch.path}{attempt}/part-{part}.snappy.parquet"
            body = to_parquet(pa.Table.from_pylist(list(listens[part::files]), schema))
            written.append(BatchFile(key, len(body), self.put(key, body)))
        self._written += 1
        manifest = Manifest(
            id=batch,
            attempt=attempt,
            files=tuple(written),
            rows=len(listens),
            committed_at=ARRIVAL + timedelta(seconds=self._written),
        )
        assert commit_manifest(self.s3, self.places.raw_bucket, manifest)
        return manifest

    def put_by_hand(self, name: str, content: pa.Table | bytes) -> str:
        """Put a file directly under processed-streams/ and return its ETag."""
        body = content if isinstance(content, bytes) else to_parquet(content)
        return self.put(f"{layout.PROCESSED}{name}", body)

    # -- runs -----------------------------------------------------------------------------------------------------

    def ingest(self, records: DataFrame, number: int) -> None:
        """Write stream records as micro-batch `number` of the streaming job."""
        self.put(f"{layout.INGEST_CHECKPOINT}metadata", json.dumps({"id": "0b6e"}))
        self._run(lambda run: MicroBatchSink(run).write(records, number), self.settings(IngestSettings), "-")

    def transform(self, *, kill_at: str = "-", **settings: Any) -> dict[str, Any]:
        """Run batch_transform and return the facts of its report."""
        return self._run(batch_transform.run, self.settings(TransformSettings, **settings), kill_at)

    def ingest_drops(self, *, kill_at: str = "-") -> int:
        """Let the streaming job look for CSV files once; returns how many it has ingested."""

        def look(run: Run[IngestSettings]) -> None:
            DropIngestion(run, MicroBatchSink(run)).ingest_waiting(threading.Event())

        facts = self._run(look, self.settings(IngestSettings), kill_at)
        return int(facts.get("csv_files", 0))

    def kpis(self, *, kill_at: str = "-", **settings: Any) -> dict[str, Any]:
        """Run kpi_transformation and return the facts of its report."""
        return self._run(kpi_transformation.run, self.settings(KpiSettings, **settings), kill_at)

    def settings(self, kind: type[S], **others: Any) -> S:
        """Settings of a job over these places."""
        names = {item.name: getattr(self.places, item.name) for item in fields(self.places)}
        return kind(**names, **others)

    def _run(self, job: Callable[[Run[S]], None], settings: S, kill_at: str) -> dict[str, Any]:
        self._runs += 1
        run_id = f"run-{self._runs}"
        reached = []

        def crash() -> None:
            reached.append(kill_at)
            raise Crash(kill_at)

        facts: dict[str, Any] = {}
        try:
            with self.leased(settings, run_id=run_id) as run:
                facts = run.report.facts
                job(replace(run, boundaries=Boundaries(kill_at, kill=crash)))
        except Crash:
            facts["crashed"] = True
        assert bool(reached) == (kill_at != "-"), f"the run never came to {kill_at}"
        return facts

    @contextmanager
    def leased(self, settings: S, *, run_id: str = "run-1") -> Iterator[Run[S]]:
        """Hold a run of a job over these places, with the laboratory's clock."""
        clients: Any = {"s3": self.s3, "dynamodb": self.dynamodb}
        with leased_run(settings, run_id=run_id, session=lambda: self.spark, **clients) as run:
            yield replace(run, now=lambda: self.now)

    # -- what is there afterwards ---------------------------------------------------------------------------------

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


def clone(cloud: Cloud, lab: Lab) -> Lab:
    """A second laboratory with the same objects and items; what happens in one stays there."""
    copy = make_lab(cloud, lab.spark)
    copy.now, copy._runs, copy._written = lab.now, lab._runs, lab._written
    for role in ("raw_bucket", "curated_bucket", "presentation_bucket"):
        source, target = getattr(lab.places, role), getattr(copy.places, role)
        for key in lab.keys("", bucket=source):
            copy.s3.copy_object(Bucket=target, Key=key, CopySource={"Bucket": source, "Key": key})
    for role in ("control_table", "daily_listens_table", "top_genres_table"):
        for page in lab.dynamodb.get_paginator("scan").paginate(TableName=getattr(lab.places, role)):
            for item in page["Items"]:
                copy.dynamodb.put_item(TableName=getattr(copy.places, role), Item=item)
    return copy


def to_parquet(table: pa.Table) -> bytes:
    """The table as the bytes of a parquet file."""
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def without(rows: Iterable[Mapping[str, Any]], *names: str) -> list[Row]:
    """The rows without some of their columns."""
    return [{name: value for name, value in row.items() if name not in names} for row in rows]


def make_lab(cloud: Cloud, spark: SparkSession) -> Lab:
    """Three empty buckets and three empty tables of this cloud, under a name that nobody else has."""
    prefix = f"t-{uuid.uuid4().hex[:10]}"
    s3, dynamodb = cloud.client("s3"), cloud.client("dynamodb")
    places = Places.with_prefix(
        prefix,
        stream=prefix,
        control_table=f"{prefix}-control",
        daily_listens_table=f"{prefix}-daily-listens",
        top_genres_table=f"{prefix}-top-genres",
    )
    for bucket in (places.raw_bucket, places.curated_bucket, places.presentation_bucket):
        s3.create_bucket(Bucket=bucket)
    for table, keys in (
        (places.control_table, ("pk", "sk")),
        (places.daily_listens_table, ("track_genre", "listen_date")),
        (places.top_genres_table, ("listen_date",)),
    ):
        dynamodb.create_table(
            TableName=table,
            KeySchema=[
                {"AttributeName": name, "KeyType": kind} for name, kind in zip(keys, ("HASH", "RANGE"), strict=False)
            ],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in keys],
            BillingMode="PAY_PER_REQUEST",
        )
    return Lab(spark, s3, dynamodb, places)
