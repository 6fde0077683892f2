"""One version of one CSV file in S3 as a Spark data source: a task parses and judges it as it comes, however large."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import boto3
import pyarrow as pa
from pyspark.sql.datasource import DataSource, DataSourceReader, InputPartition

from lakehouse.jobs import AWS_CONFIG
from streaming_jobs.csv_records import CsvRecord, read_records
from streaming_jobs.parsing import BYTES_AT_ONCE, PARSED, PARSED_DDL, judge_events, reject_events
from streaming_jobs.timeliness import Timeliness

if TYPE_CHECKING:
    from pyspark.sql.types import StructType

READ_BYTES: Final = 1024 * 1024
ROWS_PER_BATCH: Final = 10_000


class CsvFileSource(DataSource):
    """Reads one object; another version of it is an error.

    Options are its `bucket`, `key` and `etag`, `arrivedat` in ISO 8601, and the limits of being on time,
    `lateafterseconds` and `futuretoleranceseconds`.
    """

    @classmethod
    def name(cls) -> str:
        """Return the format's name."""
        return "listenlake_csv"

    def schema(self) -> str:
        """Return the columns of `parsing.PARSED`, one row per record."""
        return PARSED_DDL

    def reader(self, schema: StructType) -> CsvFileReader:  # noqa: ARG002 - Spark's signature
        """Return the reader of the file."""
        found = self.options
        arrived_at = datetime.fromisoformat(found["arrivedat"])
        limits = Timeliness(
            late_after_seconds=int(found["lateafterseconds"]),
            future_tolerance_seconds=int(found["futuretoleranceseconds"]),
        )
        return CsvFileReader(found["bucket"], found["key"], found["etag"], arrived_at, limits)


class CsvFileReader(DataSourceReader):
    """Reads the file in one partition: where a record begins depends on all bytes before it.

    Its key stands for the stream, its ETag for the shard, and the number of a record's first line for the sequence
    number, as well as for the line. A record that the parser of CSV rejects keeps that reason.
    """

    def __init__(self, bucket: str, key: str, etag: str, arrived_at: datetime, timeliness: Timeliness) -> None:
        self._bucket = bucket
        self._key = key
        self._etag = etag
        self._arrived_at = arrived_at
        self._timeliness = timeliness

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:  # noqa: ARG002
        """Yield the records, some thousands at a time."""
        s3 = boto3.client("s3", config=AWS_CONFIG)
        body: Any = s3.get_object(Bucket=self._bucket, Key=self._key, IfMatch=self._etag)["Body"]
        with closing(body):
            for some in _in_chunks(read_records(io.BufferedReader(body, READ_BYTES))):
                yield from self._parse(some).to_batches()

    def _parse(self, records: list[CsvRecord]) -> pa.Table:
        good = [record for record in records if record.reason is None]
        bad = [record for record in records if record.reason is not None]
        reasons, messages = [str(one.reason) for one in bad], [str(one.message) for one in bad]
        rejected = reject_events(self._place(bad), reasons=reasons, messages=messages)
        judged = [judge_events(self._place(good), self._timeliness)] if good else []
        return pa.concat_tables([*judged, rejected])

    def _place(self, records: list[CsvRecord]) -> pa.Table:
        """One row per record, columns as `parsing.judge_events` takes them."""
        values: dict[str, list[Any]] = {
            "data": [record.data for record in records],
            "stream": [self._key] * len(records),
            "shard_id": [self._etag] * len(records),
            "sequence_number": [str(record.line) for record in records],
            "line": [record.line for record in records],
            "payload_bytes": [len(record.data) for record in records],
            "arrived_at": [self._arrived_at] * len(records),
        }
        return pa.table(values, schema=pa.schema([PARSED.field(name) for name in values]))


def _in_chunks(records: Iterator[CsvRecord]) -> Iterator[list[CsvRecord]]:
    some: list[CsvRecord] = []
    size = 0
    for record in records:
        some.append(record)
        size += len(record.data)
        if len(some) >= ROWS_PER_BATCH or size >= BYTES_AT_ONCE:
            yield some
            some, size = [], 0
    if some:
        yield some
