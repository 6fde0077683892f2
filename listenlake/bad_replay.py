"""Bad records back onto the stream, and the record of what was sent, under `replays/` of the raw bucket.

What must hold: a record is sent once by all replays together, and the record of it says as what it came back: its new
position on the stream. A crash between sending and recording sends up to one call again; such an event keeps its id (or
gets the same derived one), so that the MERGE counts it once. An event that is rejected again and again is sent
`MAX_ATTEMPTS` times, then only by force.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final

from lakehouse import layout
from lakehouse.bad_records import REPLAYABLE, BadRecord, Group, Position, Selection, group_records
from lakehouse.batches import list_files
from lakehouse.errors import ListenlakeError
from listenlake.bad_fix import Fix, UnfixableError, read_object
from listenlake.replay_log import Entry, read_entries, write_call

logger = logging.getLogger(__name__)

MAX_ATTEMPTS: Final = 3
CALL_RECORDS: Final = 500
CALL_BYTES: Final = 4 * 1024 * 1024
"""Limits of one PutRecords call; Kinesis allows 5 MiB, partition keys included."""
READ_BYTES: Final = 1024 * 1024
PUT_TRIES: Final = 8
ONE_EVENT: Final = 1
"""The line of an event that is a record by itself, as replays send them."""


class ReplayError(ListenlakeError):
    """The stream does not take what is replayed."""


@dataclass
class Outcome:
    """What became of the records that a replay selected.

    Attributes:
        selected: Records that the selection holds.
        sent: Sent now; in a dry run, what would be.
        already_replayed: Sent by an earlier replay.
        over_limit: Left alone by the loop guard.
        unfixable: Left alone because the fix does not fit them.
        not_events: Rows of dimension files and whole files, which no stream takes.
        replay_id: Where the replay is recorded; empty when nothing was sent.
        dry_run: Nothing was sent or recorded.
    """

    selected: int = 0
    sent: int = 0
    already_replayed: int = 0
    over_limit: int = 0
    unfixable: int = 0
    not_events: int = 0
    replay_id: str = ""
    dry_run: bool = False


@dataclass(frozen=True)
class Replayed:
    """One event on its way back: the record it was, its bytes as sent, and which attempt at these this is."""

    record: BadRecord
    data: bytes
    attempt: int


@dataclass(frozen=True)
class Sent:
    """What earlier replays have sent.

    Attributes:
        positions: Positions of the records.
        attempts: How often an event was sent, by the digest of its bytes as sent.
    """

    positions: set[Position] = field(default_factory=set)
    attempts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class BadRecordStore:
    """Bad records and replays of one pipeline.

    Attributes:
        s3: Client of S3.
        kinesis: Client of Kinesis.
        bucket: The raw bucket.
        stream: The stream of listens.
        now: The clock.
        sleep: Waits so many seconds between two tries of a call.
    """

    s3: Any
    kinesis: Any
    bucket: str
    stream: str
    now: Callable[[], datetime]
    sleep: Callable[[float], None] = time.sleep

    def read(self) -> Iterator[BadRecord]:
        """Yield every bad record once, one object at a time.

        An attempt that lost its batch may have left the same record a second time.
        """
        met: set[tuple[Position, str]] = set()
        for file, _ in list_files(self.s3, self.bucket, layout.BAD_RECORDS):
            if not file.key.endswith(".json"):
                continue
            is_row = file.key.startswith(f"{layout.BAD_RECORDS}{layout.TRANSFORM_JOB}/")
            for line in self.s3.get_object(Bucket=self.bucket, Key=file.key)["Body"].iter_lines(READ_BYTES):
                record = BadRecord.from_json(_unfolded(line) if is_row else line)
                name = record.position, "" if record.position.sequence_number else _digest(record.data)
                if name not in met:
                    met.add(name)
                    yield record

    def read_sent(self) -> Sent:
        """Return what all replays so far have sent."""
        sent = Sent()
        for entry in read_entries(self.s3, self.bucket):
            sent.positions.add(entry.position)
            sent.attempts[entry.digest] = max(entry.attempt, sent.attempts.get(entry.digest, 0))
        return sent

    def preview(self, selection: Selection, fix: Fix, *, force: bool = False) -> tuple[Outcome, list[Group]]:
        """Return what `replay` with the same arguments would do, and the causes of what it would send."""
        outcome = Outcome(dry_run=True)
        return outcome, group_records(one.record for one in self._choose(selection, fix, outcome, force=force))

    def replay(self, selection: Selection, fix: Fix, *, replay_id: str, force: bool = False) -> Outcome:
        """Send what `selection` holds and no replay has sent, each through `fix`, and record it.

        Args:
            selection: Which records.
            fix: What to change in each.
            replay_id: Name of this replay; each has its own.
            force: Send also what was sent `MAX_ATTEMPTS` times.

        Raises:
            ReplayError: The stream refused records to the last try. Whatever it took is recorded.
        """
        outcome = Outcome()
        call: list[Replayed] = []
        calls, size = 0, 0

        def flush() -> None:
            nonlocal calls, size
            taken: dict[int, Position] = {}
            try:
                self._put(call, taken)
            finally:
                if taken:
                    pairs = [(call[number], position) for number, position in sorted(taken.items())]
                    self._record(f"{replay_id}/{calls:06d}", selection, fix, pairs)
            outcome.replay_id = replay_id
            calls, size = calls + 1, 0
            call.clear()

        for one in self._choose(selection, fix, outcome, force=force):
            if call and (len(call) == CALL_RECORDS or size + len(one.data) > CALL_BYTES):
                flush()
            call.append(one)
            size += len(one.data)
        if call:
            flush()
        return outcome

    def _choose(self, selection: Selection, fix: Fix, outcome: Outcome, *, force: bool) -> Iterator[Replayed]:
        """Yield what is to be sent, and count into `outcome` what becomes of each record that is selected."""
        earlier = self.read_sent()
        for record in filter(selection.holds, self.read()):
            outcome.selected += 1
            attempt = earlier.attempts.get(_digest(record.data), 0) + 1
            if record.reason not in REPLAYABLE:
                outcome.not_events += 1
            elif record.position in earlier.positions:
                outcome.already_replayed += 1
            elif attempt > MAX_ATTEMPTS and not force:
                outcome.over_limit += 1
            else:
                try:
                    data = fix.apply(record.data)
                except UnfixableError:
                    outcome.unfixable += 1
                    continue
                outcome.sent += 1
                yield Replayed(record, data, attempt)

    def _put(self, call: Sequence[Replayed], taken: dict[int, Position]) -> None:
        """Put the events of one call on the stream; `taken` gets the new position of each by its place in the call."""
        entries = [{"Data": one.data, "PartitionKey": _digest(one.data)} for one in call]
        for tries in range(PUT_TRIES):
            left = [number for number in range(len(entries)) if number not in taken]
            answers = self.kinesis.put_records(StreamName=self.stream, Records=[entries[number] for number in left])
            for number, answer in zip(left, answers["Records"], strict=True):
                if not answer.get("ErrorCode"):
                    taken[number] = Position(self.stream, answer["ShardId"], answer["SequenceNumber"], ONE_EVENT)
            if len(taken) == len(entries):
                return
            self.sleep(min(0.1 * 2**tries, 2.0))
        raise ReplayError(
            expected=f"the stream {self.stream} to take {len(entries)} records within {PUT_TRIES} tries",
            found=f"{len(entries) - len(taken)} refused at the last",
            do="Replay the same selection again when the stream has room; what is recorded is not sent again.",
        )

    def _record(self, name: str, selection: Selection, fix: Fix, sent: Sequence[tuple[Replayed, Position]]) -> None:
        context = {"replayed_at": self.now(), "selection": asdict(selection), "fix": asdict(fix)}
        entries = [
            Entry(position=one.record.position, became=became, digest=_digest(one.data), attempt=one.attempt)
            for one, became in sent
        ]
        write_call(self.s3, self.bucket, name, context=context, entries=entries)


def _unfolded(line: bytes) -> bytes:
    """Turn a rejected row of `batch_transform` into the event that it was: unknown fields stand beside the others."""
    record = json.loads(line)
    if "payload" not in record:
        return line
    try:
        event = read_object(record["payload"].encode())
    except UnfixableError:
        return line
    extra = event.pop("extra", None) or {}
    # The contract's own fields come last: an unknown one must not take the place of one.
    whole = {name: json.loads(text) for name, text in extra.items()} | event
    record["payload"] = json.dumps(whole, ensure_ascii=False, separators=(",", ":"))
    return json.dumps(record).encode()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
