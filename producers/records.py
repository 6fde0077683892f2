"""What is handed to delivery, and the columns that say what each record holds.

`Source` is the seam between makers (synthetic stream, replay) and the rest: records in order, made as they are
needed, and one row of facts per record.
"""

from __future__ import annotations

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


class Record(NamedTuple):
    """One Kinesis record to send."""

    payload: bytes
    partition_key: str


class Source(Protocol):
    """Something to send."""

    def __len__(self) -> int:
        """Number of records."""

    def records(self) -> Iterator[Record]:
        """Yield the records in order."""

    def facts(self) -> pa.Table:
        """Return one row per record, in the same order, by `FACTS` or `RAW_FACTS`."""
