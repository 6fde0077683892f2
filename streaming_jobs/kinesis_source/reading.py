"""What one task does: read its shards up to a cap, or exactly up to where the batch is known to end.

Rows leave the task while others are fetched. The end is recorded in the journal after the last row and before the task
ends, so before anything that it gave can count. Whoever finds a record there at the start (a replay of the batch, a
second action on it, a driver that should be dead) reads exactly up to it. Whoever finds another one at the end fails.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from math import ceil
from typing import Any, Final

from streaming_jobs.kinesis_source.client import MAX_RECORDS_PER_CALL, Fetch, StreamClient
from streaming_jobs.kinesis_source.errors import DataLossError, OvertakenError
from streaming_jobs.kinesis_source.offsets import Position
from streaming_jobs.kinesis_source.options import SourceOptions
from streaming_jobs.kinesis_source.patience import Budget
from streaming_jobs.kinesis_source.side_by_side import side_by_side
from streaming_jobs.kinesis_source.trimming import Loss, find_loss

ANSWER_BYTES: Final = 4 * 1024 * 1024
"""About as much is asked for in one call: what is fetched ahead is in memory, and the rest can wait in the stream."""
UNKNOWN_RECORDS: Final = 250
"""Records to ask for where nobody knows how large they are."""


@dataclass(frozen=True, kw_only=True)
class ShardEnd:
    """Where and how the reading of one shard ended in one batch.

    Attributes:
        position: Where the next batch begins.
        records: Records in the batch; None in offsets of releases before the journal.
        size: Bytes of payload.
        millis_behind: How far behind the tip the shard's own answer said that we are.
        repeats: Calls that were repeated after a throttle or a failure, by the whole task until then.
        loss: What was trimmed before this batch could read it.
        drained: The `endingTimestamp` up to which everything is read; None while more may come.
    """

    position: Position
    records: int | None
    size: int = 0
    millis_behind: int = 0
    repeats: int = 0
    loss: Loss | None = None
    drained: float | None = None

    @classmethod
    def from_record(cls, value: dict[str, Any]) -> ShardEnd:
        """Read what the journal holds of one shard."""
        loss = Loss(**value["loss"]) if value["loss"] else None
        return cls(**{**value, "position": Position(**value["position"]), "loss": loss})


Ends = dict[str, ShardEnd]


def encode_ends(ends: Ends) -> str:
    """Return the record of one task."""
    return json.dumps({shard: asdict(end) for shard, end in ends.items()})


def decode_ends(text: str) -> Ends:
    """Read what `encode_ends` wrote."""
    return {shard: ShardEnd.from_record(value) for shard, value in json.loads(text).items()}


def ends_at(positions: dict[str, Position]) -> Ends:
    """Return ends of which only the positions are known."""
    return {shard: ShardEnd(position=place, records=None) for shard, place in positions.items()}


def is_drained(begin: dict[str, Position], ends: Ends, ending: float) -> bool:
    """Tell whether a batch that begins there has nothing left to read up to `ending`."""

    def is_done(shard: str, place: Position) -> bool:
        drained = ends[shard].drained if shard in ends else None
        return place.ended or (drained is not None and drained >= ending)

    return all(is_done(shard, place) for shard, place in begin.items())


def require_same_records(kept: Ends, ends: Ends) -> None:
    """Compare what the journal holds of a task with where a reading from the same beginning has ended.

    Raises:
        OvertakenError: They are not the same records.
    """
    last, ours = ({shard: end.position.after for shard, end in told.items()} for told in (kept, ends))
    if last != ours:
        raise OvertakenError(
            expected=f"that the batch ends where its records end that were handed on: {ours}",
            found=f"that an attempt that was faster ended it elsewhere: {last}",
            do="Nothing: tried again, the task reads what the other one read.",
        )


@dataclass(frozen=True)
class Share:
    """What one shard may give to one batch.

    Attributes:
        records: The most records; zero for no cap.
        size: Bytes of payload after which to stop; the last call may go beyond.
        record_size: Bytes of a record when it was last read; None when nobody knows.
    """

    records: int
    size: int
    record_size: float | None = None

    def next_limit(self, records: int, size: int) -> int:
        """Return how many records to ask for, so that the caps are hardly passed."""
        limit = self.records - records if self.records else MAX_RECORDS_PER_CALL
        mean = size / records if records else self.record_size
        if mean is None:
            limit = min(limit, UNKNOWN_RECORDS)
        elif mean:
            left = min(ANSWER_BYTES, self.size - size) if self.size else ANSWER_BYTES
            limit = min(limit, ceil(left / mean))
        return max(1, min(limit, MAX_RECORDS_PER_CALL))

    def is_used_up(self, records: int, size: int) -> bool:
        """Tell whether a cap is reached."""
        return bool((self.records and records >= self.records) or (self.size and size >= self.size))


class ShardReader:
    """Reads shards of one stream for one batch."""

    def __init__(self, client: StreamClient, options: SourceOptions, retention_seconds: float) -> None:
        """Begin; the batch's time runs from here on."""
        self._client = client
        self._options = options
        self._retention = retention_seconds
        self._began = time.time()

    def read_new(
        self, begins: dict[str, Position], shares: dict[str, Share], ends: Ends
    ) -> Iterator[tuple[str, Fetch]]:
        """Yield what there is, up to the caps; shards side by side, as they wait for their pace and not for a core.

        Args:
            begins: Where the shards begin.
            shares: What each may give.
            ends: Gets where each shard has ended.
        """
        return side_by_side(
            {shard: self._read_shard(shard, begin, shares[shard], ends) for shard, begin in begins.items()}
        )

    def read_again(self, begins: dict[str, Position], ends: Ends) -> Iterator[tuple[str, Fetch]]:
        """Yield exactly what was read when the batch ended at `ends`.

        Raises:
            DataLossError: Some of it is no longer there.
        """
        return side_by_side({shard: self._replay(shard, begin, ends[shard]) for shard, begin in begins.items()})

    def _read_shard(self, shard: str, begin: Position, share: Share, ends: Ends) -> Iterator[Fetch]:
        records = size = behind = 0
        end, drained, loss, looked = begin, False, None, False
        fetching = self._client.fetch(
            shard, begin, limit=lambda: share.next_limit(records, size), budget=self._budget()
        )
        for answer in fetching:
            if not looked:
                loss, looked = self._require_no_loss(shard, begin), True
            fetch = self._cut_at_ending(answer)
            drained = len(fetch.data) < len(answer.data)
            if fetch.data:
                yield fetch
                records, size = records + len(fetch.data), size + fetch.size
                end = replace(end, after=fetch.numbers[-1], since=fetch.arrivals[-1] / 1e6)
            behind = answer.millis_behind
            if drained:
                break
            if answer.next_iterator is None:
                end = replace(end, ended=True)
                break
            now = time.time()
            # Chasing the tip of a busy shard would never end: what came after the batch began can wait.
            if behind <= (now - self._began) * 1000:
                if not behind:
                    end = replace(end, since=max(end.since or 0.0, self._began))
                drained = self._is_past_ending(now - behind / 1000)
                break
            # A long gap is skipped before anything else counts, or the next batch would begin it anew.
            is_late = self._options.max_fetch_seconds and now - self._began > self._options.max_fetch_seconds
            if share.is_used_up(records, size) or (is_late and records):
                break
        ends[shard] = ShardEnd(
            position=end,
            records=records,
            size=size,
            millis_behind=behind,
            repeats=self._client.patience.repeats,
            loss=loss,
            drained=self._options.ending_timestamp if drained else None,
        )

    def _cut_at_ending(self, fetch: Fetch) -> Fetch:
        ending = self._options.ending_timestamp
        if ending is None:
            return fetch
        late = (place for place, arrival in enumerate(fetch.arrivals) if arrival > ending * 1e6)
        return fetch.cut(next(late, len(fetch.arrivals)))

    def _is_past_ending(self, moment: float) -> bool:
        return self._options.ending_timestamp is not None and moment >= self._options.ending_timestamp

    def _require_no_loss(self, shard: str, begin: Position) -> Loss | None:
        loss = find_loss(self._client, shard, begin, now=self._began, retention_seconds=self._retention)
        if loss is not None and self._options.fail_on_data_loss:
            raise DataLossError(
                expected=f"every record of shard {shard} after {loss.position} in {self._options.stream_name}",
                found=loss.told,
                do="Records are lost. Start again with failOnDataLoss=false to go on without them.",
            )
        return loss

    def _replay(self, shard: str, begin: Position, end: ShardEnd) -> Iterator[Fetch]:
        last, expected, found = end.position.after, end.records, 0
        if expected == 0 or last is None or last == begin.after:
            return
        for answer in self._client.fetch(shard, begin, limit=lambda: MAX_RECORDS_PER_CALL, budget=self._budget()):
            wanted = answer.cut(sum(int(number) <= int(last) for number in answer.numbers))
            found += len(wanted.data)
            if wanted.data:
                yield wanted
            is_whole = bool(wanted.numbers) and wanted.numbers[-1] == last
            if is_whole or len(wanted.data) < len(answer.data) or (not answer.data and not answer.millis_behind):
                break
        if (expected is None and not is_whole) or (expected is not None and found != expected):
            raise DataLossError(
                expected=f"{expected or 'the'} records of shard {shard} in {self._options.stream_name} from "
                f"{begin.after or begin.start} to {last}, which a batch read before and must read again",
                found=f"{found} of them",
                do="Records were trimmed, or the stream was made anew; a new checkpoint starts over.",
            )

    def _budget(self) -> Budget:
        return Budget(self._options.reads_per_second, self._options.bytes_per_second, time.monotonic, time.sleep)
