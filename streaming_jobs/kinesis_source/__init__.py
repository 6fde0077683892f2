"""A Kinesis source for Spark 4.1 Structured Streaming with exact, replayable per-shard offsets. See README.md."""

from streaming_jobs.kinesis_source.errors import DataLossError, StreamUnreachableError
from streaming_jobs.kinesis_source.progress import (
    ShardProgress,
    SourceProgress,
    await_drained,
    end_offsets,
    is_drained,
    latest_progress,
    pin_tip,
    progress_of,
)
from streaming_jobs.kinesis_source.source import KinesisSource

__all__ = [
    "DataLossError",
    "KinesisSource",
    "ShardProgress",
    "SourceProgress",
    "StreamUnreachableError",
    "await_drained",
    "end_offsets",
    "is_drained",
    "latest_progress",
    "pin_tip",
    "progress_of",
]
