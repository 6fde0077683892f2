"""A Kinesis source for Spark 4.1 Structured Streaming with exact, replayable per-shard offsets. See README.md."""

from streaming_jobs.kinesis_source.source import KinesisSource

__all__ = ["KinesisSource"]
