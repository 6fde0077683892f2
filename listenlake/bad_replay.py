"""Bad records back onto the stream, and the record of what was sent, under `replays/` of the raw bucket.

What must hold: a record is sent once by all replays together. A crash between sending and recording sends up to one
call again; such an event keeps its id (or gets the same derived one), so that the MERGE counts it once. An event that
is rejected again and again is sent `MAX_ATTEMPTS` times, then only by force.
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
from lakehouse.bad_records import REPLAYABLE, BadRecord, Position, Selection
from lakehouse.batches import list_files
from lakehouse.errors import ListenlakeError
from listenlake.bad_fix import Fix, UnfixableError, read_object

logger = logging.getLogger(__name__)

REPLAYS: Final = "replays/"
MAX_ATTEMPTS: Final = 3
CALL_RECORDS: Final = 500
CALL_BYTES: Final = 4 * 1024 * 1024
"""Limits of one PutRecords call; Kinesis allows 5 MiB, partition keys included."""
READ_BYTES: Final = 1024 * 1024
PUT_TRIES: Final = 8


class ReplayError(ListenlakeError):
    """The stream does not take what is replayed."""


@dataclass
class Outcome:
    """What became of the records that a replay selected.

    Attributes:
        selected: Records that the selection holds.
        sent: Sent now.
        already_replayed: Sent by an earlier replay.
        over_limit: Left alone by the loop guard.
        unfixable: Left alone because the fix does not fit them.
        not_events: Rows of dimension files and whole files, which no stream takes.
        replay_id: Where the replay is recorded; empty when nothing was sent.
    """

    selected: int = 0
    sent: int = 0
    already_replayed: int = 0
    over_limit: int = 0
    unfixable: int = 0
    not_events: int = 0
    replay_id: str = ""


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
        for file, _ in list_files(self.s3, self.bucket, REPLAYS):
            body = json.loads(self.s3.get_object(Bucket=self.bucket, Key=file.key)["Body"].read())
            for entry in body["records"]:
                sent.positions.add(Position(*entry["position"]))
                sent.attempts[entry["digest"]] = max(entry["attempt"], sent.attempts.get(entry["digest"], 0))
        return sent

    def replay(self, selection: Selection, fix: Fix, *, replay_id: str, force: bool = False) -> Outcome:
        """Send what `selection` holds and no replay has sent, each through `fix`, and record it.

        Args:
            selection: Which records.
            fix: What to change in each.
            replay_id: Name of this replay; each has its own.
            force: Send also what was sent `MAX_ATTEMPTS` times.

        Raises:
            ReplayError: The stream refused records to the last try. What was sent before is recorded.
        """
        earlier, outcome = self.read_sent(), Outcome()
        call: list[tuple[Position, bytes, int]] = []
        calls, size = 0, 0

        def flush() -> None:
            nonlocal calls, size
            self._put([data for _, data, _ in call])
            self._record(f"{replay_id}/{calls:06d}.json", selection, fix, call)
            outcome.sent += len(call)
            outcome.replay_id = replay_id
            calls, size = calls + 1, 0
            call.clear()

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
                if call and (len(call) == CALL_RECORDS or size + len(data) > CALL_BYTES):
                    flush()
                call.append((record.position, data, attempt))
                size += len(data)
        if call:
            flush()
        return outcome

    def _put(self, events: Sequence[bytes]) -> None:
        left = [{"Data": data, "PartitionKey": _digest(data)} for data in events]
        for tries in range(PUT_TRIES):
            answers = self.kinesis.put_records(StreamName=self.stream, Records=left)["Records"]
            left = [entry for entry, answer in zip(left, answers, strict=True) if answer.get("ErrorCode")]
            if not left:
                return
            self.sleep(min(0.1 * 2**tries, 2.0))
        raise ReplayError(
            expected=f"the stream {self.stream} to take {len(events)} records within {PUT_TRIES} tries",
            found=f"{len(left)} refused at the last",
            do="Replay the same selection again when the stream has room; what is recorded is not sent again.",
        )

    def _record(self, name: str, selection: Selection, fix: Fix, call: Sequence[tuple[Position, bytes, int]]) -> None:
        body = {
            "replayed_at": self.now(),
            "selection": asdict(selection),
            "fix": asdict(fix),
            "records": [
                {"position": position, "digest": _digest(data), "attempt": attempt} for position, data, attempt in call
            ],
        }
        self.s3.put_object(
            Bucket=self.bucket,
            Key=f"{REPLAYS}{name}",
            Body=json.dumps(body, default=datetime.isoformat).encode(),
            ContentType="application/json",
        )


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
