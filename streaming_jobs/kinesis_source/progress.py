"""How a query on this source stands, for whoever runs or watches it: records, lag and losses per shard.

Spark 4.1 takes no metrics of their own from Python sources. The journal holds them for each batch, and the offsets in
`query.lastProgress` say which batch is which.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from streaming_jobs.kinesis_source.client import StreamClient
from streaming_jobs.kinesis_source.journal import Journal, open_journal
from streaming_jobs.kinesis_source.offsets import Plan
from streaming_jobs.kinesis_source.options import SourceOptions
from streaming_jobs.kinesis_source.reader import plan_name, read_ends

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from pyspark.sql.streaming.listener import StreamingQueryProgress
    from pyspark.sql.streaming.query import StreamingQuery


@dataclass(frozen=True, kw_only=True)
class ShardProgress:
    """One shard in one batch.

    Attributes:
        after: Sequence number of the last record that was read.
        records: Records in the batch.
        size: Their payload in bytes.
        millis_behind: How far behind the shard's tip the batch ended, as Kinesis told.
        repeats: Calls that the shard's task had to repeat.
        is_ended: The shard is closed and read to its end.
        loss: What had been trimmed unread, in words; None where nothing was.
    """

    after: str | None
    records: int
    size: int
    millis_behind: int
    repeats: int
    is_ended: bool
    loss: str | None


@dataclass(frozen=True, kw_only=True)
class SourceProgress:
    """One batch.

    Attributes:
        serial: Number of the batch since the checkpoint was made.
        shards: What was read, by shard id.
        vanished: Shards that left the stream unread.
    """

    serial: int
    shards: dict[str, ShardProgress]
    vanished: tuple[str, ...]

    @property
    def records(self) -> int:
        """Records in the batch."""
        return sum(shard.records for shard in self.shards.values())

    @property
    def millis_behind(self) -> int:
        """Lag of the shard that is furthest behind."""
        return max((shard.millis_behind for shard in self.shards.values()), default=0)

    @property
    def losses(self) -> int:
        """Shards of which something was lost before this batch."""
        return len(self.vanished) + sum(shard.loss is not None for shard in self.shards.values())

    def to_json(self) -> str:
        """Return all of it as one line of JSON."""
        totals = {"records": self.records, "millis_behind": self.millis_behind, "losses": self.losses}
        return json.dumps(asdict(self) | totals)


def progress_of(location: str, offset: Mapping[str, Any] | str) -> SourceProgress:
    """Return how the batch of an offset ended.

    Args:
        location: The query's `progressLocation`.
        offset: The source's offset, as `end_offsets` finds it in a query's progress, or its JSON.
    """
    return _progress(open_journal(location), offset)


def _progress(journal: Journal, offset: Mapping[str, Any] | str) -> SourceProgress:
    told = json.loads(offset) if isinstance(offset, str) else offset
    plan = Plan.from_offset(told)
    ends = read_ends(journal, plan)
    shards = {
        shard: ShardProgress(
            after=end.position.after,
            records=end.records or 0,
            size=end.size,
            millis_behind=end.millis_behind,
            repeats=end.repeats,
            is_ended=end.position.ended,
            loss=end.loss.told if end.loss else None,
        )
        for shard, end in ends.items()
    }
    return SourceProgress(serial=plan.serial, shards=shards, vanished=tuple(plan.lost))


def latest_progress(location: str, *, s3: S3Client | None = None) -> SourceProgress | None:
    """Return how the newest batch that was read ended, without a query at hand; None before the first one.

    Args:
        location: The query's `progressLocation`.
        s3: The client to reach it with; by default one as the environment says.
    """
    journal = open_journal(location, s3=s3)
    read = [name for name in journal.names() if "/ends-" in name]
    if not read:
        return None
    epoch, serial, _ = read[-1].rsplit("/", 2)
    plan = journal.read(plan_name(epoch, int(serial)))
    return _progress(journal, plan) if plan is not None else None


def pin_tip(options: Mapping[str, str]) -> str:
    """Return an `endingTimestamp` by the stream's own clock; every record that is in the stream now lies before it."""
    by_name = {name.lower(): value for name, value in options.items()}
    _, now = StreamClient(SourceOptions.parse(lambda name: by_name.get(name.lower()))).describe()
    # The stream tells its time in whole seconds.
    return str(now + 1)


def end_offsets(progress: StreamingQueryProgress) -> list[dict[str, Any]]:
    """Return the offset of each source up to which a query had come; PySpark itself hands out their Python repr."""
    return [source["endOffset"] for source in json.loads(progress.json)["sources"] if source["endOffset"]]


def is_drained(query: StreamingQuery, ending_timestamp: str) -> bool:
    """Tell whether a query has committed everything up to its `endingTimestamp`; stop it then."""
    progress = query.lastProgress
    if progress is None:
        return False
    return any(offset.get("drained") == float(ending_timestamp) for offset in end_offsets(progress))


def await_drained(query: StreamingQuery, ending_timestamp: str, *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Wait until a query is drained or has ended, and stop it."""
    while query.isActive and not is_drained(query, ending_timestamp):
        sleep(0.2)
    query.stop()
    failure = query.exception()
    if failure is not None:
        raise failure
