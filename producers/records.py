"""What is handed to delivery, and the columns that say what each record holds.

`Source` is the seam between makers (synthetic stream, replay) and the rest: events in order, made as they are needed,
and one row of facts per event. Events are shared out to lanes by their key, so that any number of processes sends the
same bytes and the events of one key never overtake each other.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterator

FACTS: Final = pa.schema(
    [
        ("kind", pa.string()),
        ("expected", pa.string()),
        ("event_id", pa.string()),
        ("user_id", pa.int64()),
        ("track_id", pa.string()),
        ("listen_time", pa.int64()),
    ]
)
"""Facts of a synthetic record. `listen_time` is in microseconds, UTC; the last four are null in a malformed one."""

RAW_FACTS: Final = pa.schema(
    [
        ("payload_bytes", pa.int64()),
        ("valid_utf8", pa.bool_()),
        ("user_id", pa.string()),
        ("track_id", pa.string()),
        ("listen_time", pa.string()),
        ("event_id", pa.string()),
        ("schema_version", pa.string()),
        ("played_ms", pa.string()),
    ]
)
"""Facts of a replayed record: texts as they were read, null where absent. `producers.judgement` judges them."""


@dataclass(frozen=True)
class Lanes:
    """The lanes of a delivery and those of them that this process sends.

    Attributes:
        total: Lanes of all processes.
        mine: Numbers of the lanes to make events for, below `total`.
    """

    total: int = 1
    mine: tuple[int, ...] = (0,)


def lane_of(key: str, lanes: int) -> int:
    """Return the lane of a key: the same in every process and every run."""
    return zlib.crc32(key.encode()) % lanes


class Chunk(NamedTuple):
    """Successive events of one lane, one entry per event in each list.

    Attributes:
        lane: Number of the lane.
        positions: Place of each event in the whole stream, from 0; ascending.
        payloads: Bytes of each event.
        keys: Partition key of each event.
    """

    lane: int
    positions: list[int]
    payloads: list[bytes]
    keys: list[str]


class Source(Protocol):
    """Something to send."""

    def __len__(self) -> int:
        """Number of events in the whole stream."""

    def chunks(self, lanes: Lanes) -> Iterator[Chunk]:
        """Yield the events of the asked lanes; positions ascend within a lane and from one round of lanes to the next.

        An iteration may be repeated; it then gives the same.
        """

    def facts(self) -> pa.Table:
        """Return one row per event, in order of position, by `FACTS` or `RAW_FACTS`."""
