"""The two sides of the source on Spark's Python Data Source API: the driver plans a batch, tasks read it.

Spark wants a batch's offset before the batch is read. So the offset says where each shard begins, and the tasks say
where it ends, in the journal; the next offset begins there. No record is fetched to find out how many there are. Only a
stream that was read to its tip is looked at, with a read of one record a shard, before another batch is made.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from pyspark.sql.datasource import DataSourceStreamReader, InputPartition

from lakehouse.python_workers import begin_task
from streaming_jobs.kinesis_source.client import IteratorExpiredError, StreamClient
from streaming_jobs.kinesis_source.errors import DataLossError
from streaming_jobs.kinesis_source.journal import Journal, open_journal, read_all
from streaming_jobs.kinesis_source.offsets import (
    Plan,
    Positions,
    Shard,
    first_positions,
    spread,
    vanished,
    with_ready_children,
    without_finished_ancestors,
)
from streaming_jobs.kinesis_source.options import LATEST, SourceOptions
from streaming_jobs.kinesis_source.reading import (
    Ends,
    ShardReader,
    Share,
    decode_ends,
    encode_ends,
    ends_at,
    is_drained,
    require_same_records,
)
from streaming_jobs.kinesis_source.rows import to_batch

if TYPE_CHECKING:
    import pyarrow as pa

KEPT_BATCHES: Final = 100
"""As many as Spark keeps of its own (`spark.sql.streaming.minBatchesToRetain`)."""
DESCRIBE_SECONDS: Final = 600.0


@dataclass
class TaskRange(InputPartition):
    """What one task reads: shards from where they begin up to a cap, or up to `until` where that is known already."""

    name: str
    begins: Positions
    shares: dict[str, Share]
    retention_seconds: float
    until: Positions | None


def plan_name(epoch: str, serial: int) -> str:
    """Return the name of a batch's plan in the journal."""
    return f"{epoch}/{serial:010}/plan.json"


def ends_name(epoch: str, serial: int, task: int) -> str:
    """Return the name of a task's ends in the journal."""
    return f"{epoch}/{serial:010}/ends-{task:05}.json"


class KinesisStreamReader(DataSourceStreamReader):
    """Plans batches on the driver and reads them in tasks."""

    def __init__(self, options: SourceOptions) -> None:
        """Keep the options; Spark makes one reader per query and pickles a copy for the tasks."""
        self._options = options
        self._plan: Plan | None = None
        self._iterators: dict[str, str] = {}
        self._record_sizes: dict[str, float] = {}
        self._described = float("-inf"), 0.0

    def initialOffset(self) -> dict[str, Any]:  # noqa: N802 - Spark's name
        """Return where a query without a checkpoint starts; LATEST becomes a moment, so that it can be replayed."""
        return self._first_plan().to_offset()

    def latestOffset(self) -> dict[str, Any]:  # noqa: N802
        """Return the plan of the next batch; the last one again when there is nothing to read."""
        last = self._plan or self._first_plan()
        following = self._following(last, read_ends(self._journal(), last))
        if following is None:
            return last.to_offset()
        # A driver that crashed, or that should be dead, may have planned this batch before.
        name = plan_name(following.epoch, following.serial)
        kept = self._journal().put_once(name, json.dumps(following.to_offset()))
        self._plan = Plan.from_offset(json.loads(kept))
        return self._plan.to_offset()

    def partitions(self, start: dict[str, Any], end: dict[str, Any]) -> list[TaskRange]:
        """Return what each task of a batch reads."""
        plan = Plan.from_offset(end)
        self._plan = plan
        if start == end:  # Spark tells a restarted query where it stands.
            return []
        living = sum(map(len, plan.tasks))
        return [
            TaskRange(
                name=ends_name(plan.epoch, plan.serial, number),
                begins={shard: plan.begin[shard] for shard in shards},
                shares={shard: self._share(shard, living) for shard in shards},
                retention_seconds=self._retention(),
                until=plan.until,
            )
            for number, shards in enumerate(plan.tasks)
        ]

    def read(self, partition: TaskRange) -> Iterator[pa.RecordBatch]:  # type: ignore[override] # ours alone
        """Yield the records of one task; runs in the task.

        Raises:
            DataLossError: Records that belong to the batch are no longer in the stream.
            OvertakenError: Another attempt ended the batch elsewhere; tried again, the task ends it there too.
        """
        begin_task()
        reader = ShardReader(self._client(), self._options, partition.retention_seconds)
        if partition.until is not None:
            known = ends_at(partition.until)
        else:
            known = decode_ends(self._journal().read(partition.name) or "{}")
        begins, ends = partition.begins, Ends()
        fetches = reader.read_again(begins, known) if known else reader.read_new(begins, partition.shares, ends)
        for shard, fetch in fetches:
            yield to_batch(self._options.stream_name, shard, fetch)
        if not known:
            kept = self._journal().put_once(partition.name, encode_ends(ends))
            require_same_records(decode_ends(kept), ends)

    def commit(self, end: dict[str, Any]) -> None:
        """Forget what nobody can ask for any more."""
        plan = Plan.from_offset(end)
        old = plan.serial - KEPT_BATCHES
        if old > 0:
            # A stream that was resharded meanwhile may have had more tasks then than it has now.
            tasks = max(len(plan.tasks), len(plan.begin))
            names = [plan_name(plan.epoch, old), *(ends_name(plan.epoch, old, task) for task in range(tasks))]
            self._journal().remove(names)

    def _first_plan(self) -> Plan:
        if self._plan is None:
            start, moment, since = self._options.starting_position, self._options.starting_timestamp, None
            if start == LATEST:
                _, moment = self._client().describe()
                since = moment
            begin = first_positions(self._client().list_shards(), start=start, timestamp=moment, since=since)
            self._plan = Plan(epoch=uuid.uuid4().hex, serial=0, begin=begin)
        return self._plan

    def _following(self, last: Plan, ends: Ends) -> Plan | None:
        ending = self._options.ending_timestamp
        if ending is not None and last.drained == ending:
            return None
        reached = {shard: ends[shard].position if shard in ends else place for shard, place in last.begin.items()}
        for shard, end in ends.items():
            if end.records:
                self._record_sizes[shard] = end.size / end.records
        shards = self._client().list_shards()
        gone = self._find_gone(reached, shards)
        kept = {shard: place for shard, place in reached.items() if shard not in gone}
        begin = without_finished_ancestors(with_ready_children(kept, shards), shards)
        following = Plan(
            epoch=last.epoch,
            serial=last.serial + 1,
            begin=begin,
            tasks=spread(begin, self._options.max_tasks),
            lost={shard: reached[shard].since for shard in gone},
        )
        if ending is not None:
            is_done = is_drained(begin, ends, ending)
            return replace(following, tasks=(), drained=ending) if is_done else following
        is_new = gone or begin.keys() - reached.keys() or any(end.millis_behind for end in ends.values())
        return following if is_new or self._has_news(begin) else None

    def _find_gone(self, reached: Positions, shards: list[Shard]) -> list[str]:
        gone = vanished(reached, shards)
        if gone and self._options.fail_on_data_loss:
            places = ", ".join(f"{shard} after {reached[shard].after or reached[shard].start}" for shard in gone)
            raise DataLossError(
                expected=f"shards of {self._options.stream_name} that were not read to their end: {places}",
                found="that the stream no longer has them",
                do="Records are lost. Start again with failOnDataLoss=false to go on without them.",
            )
        return gone

    def _has_news(self, begin: Positions) -> bool:
        """Look for a record, a shard's end, or a position so old that the journal must hear that it still holds."""
        client = self._client()
        for shard, place in begin.items():
            if place.ended:
                continue
            if place.since is not None and time.time() - place.since > self._retention() / 4:
                return True
            try:
                iterator = self._iterators.get(shard) or client.open_iterator(shard, place)
                answer = client.get_records(iterator, 1)
            except IteratorExpiredError:
                self._iterators.pop(shard, None)
                return self._has_news(begin)
            if answer.data or answer.next_iterator is None:
                self._iterators.clear()
                return True
            self._iterators[shard] = answer.next_iterator
        return False

    def _share(self, shard: str, living: int) -> Share:
        options = self._options
        records = [options.max_records_per_shard, -(-options.max_records_per_batch // living)]
        sizes = [options.max_bytes_per_shard, -(-options.max_bytes_per_batch // living)]
        return Share(
            records=min((cap for cap in records if cap), default=0),
            size=min((cap for cap in sizes if cap), default=0),
            record_size=self._record_sizes.get(shard),
        )

    def _retention(self) -> float:
        """How long the stream keeps records, in seconds; asked anew now and then, since it can be changed."""
        asked_at, seconds = self._described
        if time.monotonic() - asked_at > DESCRIBE_SECONDS:
            seconds, _ = self._client().describe()
            self._described = time.monotonic(), seconds
        return seconds

    def _client(self) -> StreamClient:
        return StreamClient(self._options)

    def _journal(self) -> Journal:
        return open_journal(self._options.progress_location)


def read_ends(journal: Journal, plan: Plan) -> Ends:
    """Return where the shards of a batch ended; those that no task has read are missing."""
    if plan.until is not None:
        return ends_at(plan.until)
    texts = read_all(journal, [ends_name(plan.epoch, plan.serial, number) for number in range(len(plan.tasks))])
    return {shard: end for text in texts if text for shard, end in decode_ends(text).items()}
