r"""What record processors saw, as lines of text, and as a table again.

One line an event: sequence number, line in the record, event id, arrival in ms, sighting in us, end mark; tabs
between, LF at the end. The shard is in the file's name. A process may be killed within a write, so a line counts only
with its end mark: a torn one can only be the last of its file; its record was never checkpointed, so it comes again.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from lakehouse.events import LISTEN_TIME_PATTERN, MAX_EVENT_ID_LENGTH, derive_event_id, split_events

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb

SUFFIX: Final = ".tsv"
END_MARK: Final = "."
_LISTEN_TIME: Final = re.compile(LISTEN_TIME_PATTERN)
COLUMNS: Final = {
    "sequence_number": "VARCHAR",
    "line": "INTEGER",
    "event_id": "VARCHAR",
    "arrived_ms": "BIGINT",
    "seen_us": "BIGINT",
    "end_mark": "VARCHAR",
}
EMPTY_SQL: Final = """
CREATE OR REPLACE TABLE seen (shard_id VARCHAR, sequence_number VARCHAR, line INTEGER, event_id VARCHAR,
    arrived_ms BIGINT, seen_us BIGINT, sightings BIGINT)
"""
SEEN_SQL: Final = """
INSERT INTO seen
SELECT split_part(parse_filename(filename), '.', 1) AS shard_id, sequence_number, line, arg_min(event_id, seen_us),
    min(arrived_ms), min(seen_us), count(*)
FROM read_csv($files, columns = $columns, auto_detect = false, header = false, delim = '\\t', quote = '', escape = '',
    new_line = '\\n', null_padding = true, filename = true)
WHERE end_mark = '.'
GROUP BY ALL
"""


class ObservationsFile:
    """The file of one record processor: appended to, never rewritten."""

    def __init__(self, folder: Path, shard_id: str) -> None:
        """Create the file; its name is of this process alone, also when process ids come round again."""
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{shard_id}.{os.getpid()}.{time.time_ns()}{SUFFIX}"
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o644)

    def append(self, lines: Iterable[str]) -> None:
        """Write all lines at once.

        Raises:
            OSError: Not all of it could be written.
        """
        data = "".join(lines).encode()
        if os.write(self._descriptor, data) != len(data):
            raise OSError(f"could not write {len(data)} bytes to {self.path}")

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def describe_record(data: bytes, sequence_number: str, arrived_ms: int, seen_us: int) -> list[str]:
    """Return one line for each event of a Kinesis record."""
    return [
        f"{sequence_number}\t{line}\t{read_event_id(event)}\t{arrived_ms}\t{seen_us}\t{END_MARK}\n"
        for line, event in split_events(data)
    ]


def read_event_id(event: bytes) -> str:
    """Return an event's id as the payload has it, else the derived one; empty when there is neither."""
    try:
        fields = json.loads(event.decode())
    except (ValueError, RecursionError):
        return ""
    if type(fields) is not dict:
        return ""
    event_id = fields.get("event_id")
    if event_id is None:
        return _derive(fields)
    if type(event_id) is str and len(event_id) <= MAX_EVENT_ID_LENGTH and event_id.isprintable():
        return event_id
    return ""


def _derive(fields: dict[str, Any]) -> str:
    user_id, track_id, text = (fields.get(name) for name in ("user_id", "track_id", "listen_time"))
    if type(user_id) is not int or type(track_id) is not str or type(text) is not str:
        return ""
    moment = parse_listen_time(text)
    return derive_event_id(user_id, track_id, moment) if moment else ""


def parse_listen_time(text: str) -> datetime | None:
    """Return the moment that a `listen_time` names, cut to microseconds; None when it is not well written."""
    if _LISTEN_TIME.match(text) is None:
        return None
    with contextlib.suppress(ValueError):
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return None


def load_seen(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Make the table `seen` from all files of a folder, whether they still grow or not.

    One row per position (shard_id, sequence_number, line): what its first sighting says, and the number of sightings.
    """
    connection.execute(EMPTY_SQL)
    files = [str(path) for path in sorted(folder.glob(f"*{SUFFIX}")) if path.stat().st_size > 0]
    if files:
        connection.execute(SEEN_SQL, {"files": files, "columns": COLUMNS})
