"""Bad records as values: one rejected event, the cause that it shares with others, and groups of one cause.

Flows in: lines of the JSON files under `bad-records/`. Flows out: records, groups. What must hold: a record of any age
has a fingerprint, and one cause has one fingerprint whatever the values in the payloads were. Pure.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from lakehouse import events

FINGERPRINT_DIGITS: Final = 12
REPLAYABLE: Final = frozenset(
    events.INGEST_REASONS | events.POLICY_REASONS | events.ISOLATION_REASONS | events.ENRICHMENT_REASONS
) - {"unreadable_file"}
"""Reasons whose records are events; the others speak of rows of dimension files and of whole files."""

INSIDE_OF_TYPE_PATTERN: Final = r"(?s)<.*?>+(?=,| for |(?![\s\S]))|\([0-9]+,[0-9]+\)"
"""Members of a JSON object and digits of a decimal: they belong to the payload, not to the cause.

Python and Spark read it alike: `.` is any character, and no character follows at the end.
"""


def fingerprint_of(reason: str, message: str) -> str:
    """Return the name of a cause: a digest of the reason and of the fields and JSON types that its message names.

    The jobs store it with each record (`lakehouse.listen_rules.fingerprint`); this names older ones, and what has no
    message of its own.
    """
    cause = f"{reason}|{re.sub(INSIDE_OF_TYPE_PATTERN, '', message)}"
    return hashlib.sha256(cause.encode()).hexdigest()[:FINGERPRINT_DIGITS]


class Position(NamedTuple):
    """Where an event came from; the key of `lakehouse.tables.REJECTED_RECORDS`."""

    stream: str
    shard_id: str
    sequence_number: str
    line: int


@dataclass(frozen=True, kw_only=True)
class BadRecord:
    """One rejected event.

    Attributes:
        reason: Its reason code.
        message: What was wrong, without a value of the payload.
        data: The event's bytes as they came in.
        position: Where it came from.
        arrived_at: When; None for what has no arrival of its own.
        source_batch: Path of the batch that it was part of.
        fingerprint: Name of its cause.
        event_id: Its id, where it has one that can be read.
    """

    reason: str
    message: str
    data: bytes
    position: Position
    arrived_at: datetime | None
    source_batch: str
    fingerprint: str
    event_id: str | None = None

    @classmethod
    def from_json(cls, line: str | bytes) -> BadRecord:
        """Read one line of a file under `bad-records/`; a column that is null or not yet known may be absent."""
        value = json.loads(line)
        encoded, text = value.get("payload_base64"), value.get("payload") or ""
        arrived_at = value.get("arrived_at")
        reason, message = value["reason"], value.get("message", "")
        return cls(
            reason=reason,
            message=message,
            data=base64.b64decode(encoded) if encoded else text.encode(),
            position=Position(
                value.get("stream", ""),
                value.get("shard_id", ""),
                value.get("sequence_number", ""),
                value.get("line", 1),
            ),
            arrived_at=datetime.fromisoformat(arrived_at) if arrived_at else None,
            source_batch=value.get("source_batch", ""),
            fingerprint=value.get("fingerprint") or fingerprint_of(reason, message),
            event_id=value.get("event_id"),
        )

    def to_json(self) -> bytes:
        """Return a line of a file under `bad-records/`: columns of `REJECTED_RECORDS`, those that are null left out."""
        row = {
            "reason": self.reason,
            "message": self.message,
            "fingerprint": self.fingerprint,
            **_payload(self.data),
            "event_id": self.event_id,
            **self.position._asdict(),
            "shard_id": self.position.shard_id or None,
            "arrived_at": self.arrived_at and self.arrived_at.isoformat(timespec="milliseconds"),
            "source_batch": self.source_batch,
        }
        return json.dumps({name: value for name, value in row.items() if value is not None}).encode() + b"\n"


def _payload(data: bytes) -> dict[str, str]:
    try:
        return {"payload": data.decode()}
    except UnicodeDecodeError:
        return {"payload_base64": base64.b64encode(data).decode()}


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which records are meant; what is None does not narrow.

    Attributes:
        reason: A reason code.
        fingerprint: A fingerprint, or how it begins.
        since: Earliest arrival.
        until: Arrivals before this moment.
    """

    reason: str | None = None
    fingerprint: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def holds(self, record: BadRecord) -> bool:
        """Tell whether `record` is meant. A record without an arrival is in no time range."""
        if self.reason is not None and record.reason != self.reason:
            return False
        if self.fingerprint is not None and not record.fingerprint.startswith(self.fingerprint):
            return False
        if self.since is None and self.until is None:
            return True
        if record.arrived_at is None:
            return False
        return (self.since is None or record.arrived_at >= self.since) and (
            self.until is None or record.arrived_at < self.until
        )


@dataclass
class Group:
    """All records of one fingerprint.

    Attributes:
        fingerprint: Name of the cause.
        reason: Its reason code.
        message: Message of the record met first.
        records: How many there are.
        replayed: How many of them were sent back into the pipeline.
        first_seen: Earliest arrival.
        last_seen: Latest arrival.
    """

    fingerprint: str
    reason: str
    message: str
    records: int = 0
    replayed: int = 0
    first_seen: datetime | None = None
    last_seen: datetime | None = None


def group_records(records: Iterable[BadRecord], *, replayed: Iterable[Position] = ()) -> list[Group]:
    """Return one group per fingerprint, the largest first."""
    sent = frozenset(replayed)
    groups: dict[str, Group] = {}
    for record in records:
        name = record.fingerprint
        group = groups.setdefault(name, Group(name, record.reason, record.message))
        group.records += 1
        group.replayed += record.position in sent
        if (moment := record.arrived_at) is not None:
            group.first_seen = min(group.first_seen or moment, moment)
            group.last_seen = max(group.last_seen or moment, moment)
    return sorted(groups.values(), key=lambda group: (-group.records, group.fingerprint))
