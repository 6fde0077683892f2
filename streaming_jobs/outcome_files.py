"""Where judged events go: listens to parquet, rejects to JSON lines, from the task that has judged them.

A task writes a file whenever it has judged enough for one, and hands the account of it to the driver. What is too
little for a file of its own it hands over as it is, and the driver puts all of that together. Nothing of a task that
failed or was overtaken counts: its files have names of their own, and only accounts of tasks that finished reach the
manifest.
"""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lakehouse import layout
from lakehouse.batches import BatchFile, BatchId
from lakehouse.python_workers import begin_task
from lakehouse.tables import PROCESSED_LISTENS
from lakehouse.tasks import in_pieces, s3_of_task
from streaming_jobs.arrow_rows import split_where
from streaming_jobs.batch_parts import Content, Part
from streaming_jobs.parsing import PARSED
from streaming_jobs.reject_lines import to_json_lines
from streaming_jobs.timeliness import FUTURE, LATE

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from pyspark.sql import DataFrame

    from lakehouse.jobs import Report, Run
    from lakehouse.settings import IngestSettings

Judge = Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]
"""From batches of a frame to batches of `parsing.PARSED`."""

PAYLOAD_BYTES_PER_FILE: Final = 32 * 1024 * 1024
"""Decides how many files a batch becomes; measured in bytes of JSON, since parquet's are known only afterwards."""
TOO_LITTLE_BYTES: Final = 1024 * 1024
"""Less payload than this is handed to the driver, where it has room for as much from a hundred tasks."""
_RECURRING: Final = ["track_id", "platform", "stream", "shard_id", "line", "arrived_at"]
"""Columns that get a dictionary. For one whose values are all but distinct it is made in vain, and that is slow."""
_HANDED_DDL: Final = "part STRING, judged BINARY"
_HANDED: Final = pa.schema([("part", pa.string()), ("judged", pa.binary())])


@dataclass(frozen=True)
class OutcomeFiles:
    """The files of some records of a batch.

    Attributes:
        bucket: The raw bucket.
        batch: Path of the batch.
        folder: Below the batch's own folders, like `attempt=0a1b/`.
    """

    bucket: str
    batch: str
    folder: str

    def write(self, s3: S3Client, judged: pa.Table) -> Part:
        """Write judged events, at most a file of each kind.

        Args:
            s3: Client of whoever writes.
            judged: One row per event, columns of `PARSED`.
        """
        listens, rejects = split_where(judged, lambda batch: pc.is_null(batch["reject_reason"]))
        listens = listens.select(PROCESSED_LISTENS.columns)
        return Part(
            listens=self._put(s3, f"{layout.PROCESSED}{self.batch}", "parquet", _to_parquet(listens), len(listens)),
            rejects=self._put(s3, rejects_folder(self.batch), "json", to_json_lines(rejects, self.batch), len(rejects)),
            contents=_account(judged),
        )

    def write_in_task(self, judged: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Write what a task has judged and yield what the driver needs to know of it, columns of `_HANDED`."""
        begin_task()
        for piece, size in in_pieces(judged, enough=PAYLOAD_BYTES_PER_FILE, size_of=_payload_bytes):
            if size >= TOO_LITTLE_BYTES:
                yield _handed(part=self.write(s3_of_task(), piece))
            else:
                yield _handed(judged=piece)

    def _put(self, s3: S3Client, place: str, kind: str, body: bytes, rows: int) -> tuple[BatchFile, ...]:
        if not rows:
            return ()
        key = f"{place}{self.folder}part-{uuid.uuid4().hex}.{kind}"
        answer = s3.put_object(Bucket=self.bucket, Key=key, Body=body)
        return (BatchFile(key, len(body), answer["ETag"].strip('"')),)


@dataclass(frozen=True, kw_only=True)
class PartWriter:
    """Writes parts of one micro-batch.

    Attributes:
        run: The job's run.
        batch: The micro-batch.
        report: Where the seconds of each phase are added up.
    """

    run: Run[IngestSettings]
    batch: BatchId
    report: Report

    def write(self, frame: DataFrame, folder: str, judge: Judge) -> Part:
        """Judge and write a frame in one action, so that what it is read from is read once.

        Args:
            frame: What `judge` takes; nothing is written where there are no events.
            folder: Below the batch's own folder, like `attempt=0a1b/`; it must not exist yet.
            judge: Runs in the tasks.
        """
        files = OutcomeFiles(self.run.settings.raw_bucket, self.batch.path, folder)
        with self.report.phase("write"):
            # Collects a row per file, and of each task what is too little for one.
            handed = frame.mapInArrow(lambda batches: files.write_in_task(judge(batches)), _HANDED_DDL).collect()
        self.run.boundaries.passed("records_judged")
        parts = [Part.from_json(row["part"]) for row in handed if row["part"]]
        little = [_read(row["judged"]) for row in handed if row["judged"]]
        if little:
            with self.report.phase("write"):
                parts.append(files.write(self.run.s3, pa.concat_tables(little)))
        return reduce(add, parts, Part(contents={}))


def rejects_folder(batch: str) -> str:
    """Return the folder of a micro-batch's rejects, by the batch's path."""
    return f"{layout.BAD_RECORDS}{layout.INGEST_JOB}/{batch}"


def _payload_bytes(judged: pa.RecordBatch) -> int:
    return pc.sum(judged["payload_bytes"]).as_py() or 0


def _account(judged: pa.Table) -> dict[str | None, Content]:
    """Return what there is of each reject reason, under None of listens."""
    codes = {name: pc.equal(judged["timeliness"], name).cast(pa.int64()) for name in (LATE, FUTURE)}
    columns = [judged[name] for name in ("reject_reason", "payload_bytes", "arrived_at")]
    counted = (
        pa.table([*columns, *codes.values()], names=["reason", "bytes", "arrived_at", *codes])
        .group_by("reason")
        .aggregate([([], "count_all"), ("bytes", "sum"), ("arrived_at", "min"), (LATE, "sum"), (FUTURE, "sum")])
    )
    return {
        row["reason"]: Content(
            rows=row["count_all"],
            payload_bytes=row["bytes_sum"],
            oldest=row["arrived_at_min"],
            late=row[f"{LATE}_sum"] or 0,
            future=row[f"{FUTURE}_sum"] or 0,
        )
        for row in counted.to_pylist()
    }


def _to_parquet(listens: pa.Table) -> bytes:
    body = io.BytesIO()
    pq.write_table(listens, body, use_dictionary=_RECURRING, compression="zstd")
    return body.getvalue()


def _handed(*, part: Part | None = None, judged: pa.Table | None = None) -> pa.RecordBatch:
    row: dict[str, Any] = {"part": part and part.to_json(), "judged": judged if judged is None else _written(judged)}
    return pa.RecordBatch.from_pylist([row], _HANDED)


def _written(judged: pa.Table) -> bytes:
    body = io.BytesIO()
    with pa.ipc.new_stream(body, PARSED) as stream:
        stream.write_table(judged)
    return body.getvalue()


def _read(written: bytearray) -> pa.Table:
    with pa.ipc.open_stream(pa.py_buffer(written)) as stream:
        return stream.read_all()
