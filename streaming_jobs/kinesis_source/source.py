"""The source's name, columns and options: `spark.readStream.format("listenlake_kinesis")`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql.datasource import DataSource

from streaming_jobs.kinesis_source.options import SourceOptions
from streaming_jobs.kinesis_source.reader import KinesisStreamReader
from streaming_jobs.kinesis_source.rows import SCHEMA

if TYPE_CHECKING:
    from pyspark.sql.types import StructType


class KinesisSource(DataSource):
    """Registers the source under the name `listenlake_kinesis`."""

    @classmethod
    def name(cls) -> str:
        """Return the format's name; Spark refuses one that a JVM source carries too, so it is our own."""
        return "listenlake_kinesis"

    def schema(self) -> str:
        """Return the columns: the record's bytes and its place in the stream."""
        return SCHEMA

    def streamReader(self, schema: StructType) -> KinesisStreamReader:  # noqa: ARG002, N802
        """Return the reader of one query."""
        return KinesisStreamReader(SourceOptions.parse(self.options.get))
