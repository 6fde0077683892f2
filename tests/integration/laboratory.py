"""A laboratory for each test: three buckets and three tables that nobody else uses, and the jobs in this process."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from batch_jobs import batch_transform, kpi_transformation
from lakehouse import layout
from lakehouse.batches import BatchFile, BatchId, Manifest, commit_manifest
from lakehouse.boundaries import Boundaries
from lakehouse.jobs import Run, leased_run
from lakehouse.settings import IngestSettings, JobSettings, KpiSettings, Places, TransformSettings
from streaming_jobs.csv_drops import DropIngestion
from streaming_jobs.micro_batches import MicroBatchSink
from tests.integration.outcome import Outcome
from tests.integration.records import (
    ARRIVAL,
    CLOCK,
    PROCESSED_SCHEMA,
    SONGS_HEADER_ALL,
    USERS_HEADER,
    Row,
    to_csv,
    to_parquet,
)

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from local_cloud.cloud import Cloud

S = TypeVar("S", bound=JobSettings)


class Crash(BaseException):
    """The end of a run at a boundary."""


@dataclass
class Lab(Outcome):
    """One test's buckets and tables, and the jobs that work on them."""

    spark: SparkSession
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
    return Lab(s3, dynamodb, places, spark)
