"""Replays listens from existing CSV files: each row becomes one JSON event, good or bad as it is.

Whether a row is a listen is not judged here but by `producers.judgement`. All files are read before anything is sent,
so a file that can't be read leaves nothing half-sent.
"""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from lakehouse.csv_listens import build_event, encode_event, find_header_fault, name_columns
from lakehouse.events import REQUIRED_FIELDS
from producers.errors import ProducerError
from producers.records import RAW_FACTS, Chunk, Lanes, lane_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

MAX_PARTITION_KEY_LENGTH: Final = 256
CHUNK: Final = 2_000
"""Rows encoded at a time."""
NO_USER: Final = "-"
"""Partition key of rows without a user."""

Row = dict[str, str]


class Replay:
    """The rows of CSV listens as events, in the order of the files."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Read every file; a directory stands for its `*.csv` files in order of name.

        Raises:
            ProducerError: There is no file or no row, or a file has not the required columns or is no RFC 4180 CSV.
        """
        files = [file for path in paths for file in (sorted(path.glob("*.csv")) if path.is_dir() else [path])]
        if not files:
            raise ProducerError(
                expected="CSV files of listens (user_id,track_id,listen_time)",
                found=f"none in {', '.join(map(str, paths))}" if paths else "no file named",
                do="Name the files, or a directory that holds *.csv files.",
            )
        self._rows = [row for file in files for row in _read_rows(file)]
        if not self._rows:
            raise ProducerError(
                expected="at least one listen",
                found=f"only headers in {', '.join(map(str, files))}",
                do="Name files that have rows.",
            )

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._rows)

    def chunks(self, lanes: Lanes) -> Iterator[Chunk]:
        """Yield the rows of the asked lanes as events; one without a user has the key `NO_USER`."""
        for first in range(0, len(self._rows), CHUNK):
            made: dict[int, Chunk] = {lane: Chunk(lane, [], [], []) for lane in sorted(lanes.mine)}
            for position, row in enumerate(self._rows[first : first + CHUNK], start=first):
                event = _build_event(row)
                key = _replace_undecodable(str(event.get("user_id", NO_USER)))[:MAX_PARTITION_KEY_LENGTH]
                chunk = made.get(lane_of(key, lanes.total))
                if chunk:
                    chunk.positions.append(position)
                    chunk.payloads.append(encode_event(event))
                    chunk.keys.append(key)
            yield from (chunk for chunk in made.values() if chunk.positions)

    def facts(self) -> pa.Table:
        """Return one row per record: its size, whether it is UTF-8, and the texts as they were read."""
        payloads = [encode_event(_build_event(row)) for row in self._rows]
        columns: dict[str, list[Any]] = {
            "payload_bytes": [len(payload) for payload in payloads],
            "valid_utf8": [_is_utf8(payload) for payload in payloads],
        }
        for name in RAW_FACTS.names[2:]:
            texts = (row.get(name) for row in self._rows)
            columns[name] = [None if text is None else _replace_undecodable(text) for text in texts]
        return pa.table(columns, schema=RAW_FACTS)


def _read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of one file, blank fields left out; bytes that are no UTF-8 pass through as they are."""
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            reader = csv.reader(file, strict=True)
            names = _check_header(path, next(reader, None))
            for cells in reader:
                surplus = (f"column_{number}" for number in range(len(names) + 1, len(cells) + 1))
                row = {name: cell for name, cell in zip([*names, *surplus], cells, strict=False) if cell.strip()}
                if cells:
                    yield row
    except OSError as error:
        raise ProducerError(
            expected=f"the readable file {path}", found=error.strerror or "an error", do="Check the path."
        ) from error
    except csv.Error as error:
        raise ProducerError(
            expected=f"{path} as RFC 4180 CSV, quotes doubled",
            found=f"{error} at line {reader.line_num}",
            do="Correct that line; nothing was sent.",
        ) from error


def _check_header(path: Path, header: list[str] | None) -> list[str]:
    wanted = ",".join(REQUIRED_FIELDS)
    if not header:
        raise ProducerError(
            expected=f"a header with {wanted} in {path}", found="an empty file", do="Name a file that holds listens."
        )
    names = name_columns(header)
    if fault := find_header_fault(names):
        raise ProducerError(
            expected=f"the columns {wanted} in {path}, each once",
            found=_replace_undecodable(f"{','.join(header)!r}, {fault}"),
            do="Correct the header line; nothing was sent.",
        )
    return names


def _build_event(row: Row) -> dict[str, Any]:
    return build_event(list(row), list(row.values()))


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


def _replace_undecodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")
