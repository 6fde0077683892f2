"""Which source reads the stream, and with which options: ours, or the one that AWS Glue has built in.

One setting chooses; the job behind it is the same, since both give the same columns. Glue's source knows neither exact
ends nor data loss nor draining, so settings that ask for those are refused with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pyspark.sql import functions as F

from lakehouse import layout
from lakehouse.errors import SettingsError
from streaming_jobs.kinesis_source import KinesisSource
from streaming_jobs.kinesis_source.options import AT_TIMESTAMP, to_text
from streaming_jobs.parsing import BYTES_AT_ONCE

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from lakehouse.settings import IngestSettings

GLUE: Final = "kinesis"
_SESSION: Final = layout.INGEST_JOB


@dataclass(frozen=True)
class StreamSource:
    """A format's name and its options."""

    format: str
    options: dict[str, str]


def choose_source(settings: IngestSettings, *, tasks: int) -> StreamSource:
    """Return the source that the settings name.

    Args:
        settings: The job's settings.
        tasks: The most tasks that may read at once.

    Raises:
        SettingsError: The settings ask for something that the source can't do.
    """
    if settings.stream_source == GLUE:
        return StreamSource(GLUE, _for_glue(settings))
    return StreamSource(KinesisSource.name(), _for_ours(settings, tasks))


def read_stream(spark: SparkSession, source: StreamSource) -> DataFrame:
    """Return the stream's records; Glue's source does not name the shard, so it is null there."""
    if source.format == KinesisSource.name():
        spark.dataSource.register(KinesisSource)
    # Spark hands records to Python ten thousand at a time, and a record can hold hundreds of events.
    spark.conf.set("spark.sql.execution.arrow.maxBytesPerBatch", BYTES_AT_ONCE)
    records = spark.readStream.format(source.format).options(**source.options).load()
    return records if "shardId" in records.columns else records.withColumn("shardId", F.lit(None).cast("string"))


def progress_location(settings: IngestSettings) -> str:
    """Return where our source keeps its journal: below the checkpoint, so that both are kept and lost together."""
    return layout.uri(settings.raw_bucket, layout.INGEST_PROGRESS)


def _for_ours(settings: IngestSettings, tasks: int) -> dict[str, str]:
    return to_text(
        {
            "stream_name": settings.stream,
            "progress_location": progress_location(settings),
            "endpoint_url": _given(settings.kinesis_endpoint),
            "role_arn": _given(settings.kinesis_role),
            "role_session_name": _SESSION,
            "starting_position": settings.starting_position,
            "starting_timestamp": _given(settings.starting_timestamp),
            "max_records_per_shard": settings.max_records_per_shard,
            "max_bytes_per_shard": settings.max_bytes_per_shard,
            "max_fetch_seconds": settings.max_fetch_seconds,
            "max_tasks": tasks,
            "reads_per_second": settings.shard_reads_per_second,
            "bytes_per_second": settings.shard_bytes_per_second,
            "fail_on_data_loss": settings.fail_on_data_loss,
        }
    )


def _for_glue(settings: IngestSettings) -> dict[str, str]:
    if settings.drain == "true":
        raise SettingsError(
            expected="--drain false with AWS Glue's own source",
            found="--drain true",
            do="Drain with --stream_source listenlake_kinesis.",
        )
    at_timestamp = settings.starting_position == AT_TIMESTAMP
    role = _given(settings.kinesis_role)
    pause = round(1000 / settings.shard_reads_per_second) if settings.shard_reads_per_second else None
    options: dict[str, object] = {
        "streamName": settings.stream,
        "endpointUrl": _given(settings.kinesis_endpoint),
        "awsSTSRoleARN": role,
        "awsSTSSessionName": _SESSION if role else None,
        "startingPosition": settings.starting_timestamp if at_timestamp else settings.starting_position.lower(),
        "maxFetchRecordsPerShard": settings.max_records_per_shard,
        "maxFetchTimeInMs": round(settings.max_fetch_seconds * 1000),
        "addIdleTimeBetweenReads": "true" if pause else None,
        "idleTimeBetweenReadsInMs": pause,
        # What ours does always.
        "avoidEmptyBatches": "true",
        "emitConsumerLagMetrics": "true",
    }
    return {name: str(value) for name, value in options.items() if value is not None}


def _given(text: str) -> str | None:
    return None if text == "-" else text
