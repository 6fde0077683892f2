r"""A CSV file in, records with their place out: RFC 4180 by Python's own parser, and a reason where that says no. Pure.

Flows in: the bytes of one file. Flows out: one record for each row that is not blank, good or bad, or a single one for
a file whose header says nothing. What must hold: no bytes end the reading, and no row goes unseen.

Lines end with LF or CR LF and are counted from 1, as `grep -n` counts them; a record may go over several. After one
that can't be read, the next line begins a new one.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterator
from typing import BinaryIO, Final, NamedTuple

from lakehouse.csv_listens import build_event, encode_event, find_header_fault, name_columns
from lakehouse.events import DROP_REASONS, INGEST_REASONS, MAX_EVENT_BYTES

MAX_RECORD_BYTES: Final = 2 * MAX_EVENT_BYTES
"""No more is read for one record: an event of its cells would be oversize. It is the limit of `csv` for a cell, too."""

_CELL: Final = rb'(?:"[^"]*+(?:""[^"]*+)*+"|[^",\r\n]*+)'
_RFC_4180: Final = re.compile(_CELL + rb"(?:," + _CELL + rb")*+\r?\n?")
"""A record as the RFC has it; `csv` lets a quote inside a bare cell pass."""

_NOT_RFC_4180: Final = "quotes or line ends that RFC 4180 does not allow"


class CsvRecord(NamedTuple):
    """One record of a file.

    Attributes:
        line: Number of its first line.
        data: The event of its cells as JSON; the record's own bytes where there is a reason.
        reason: Why it can't be judged as an event; None if it can.
        message: The reason in words, without a value of the record; None if there is none.
    """

    line: int
    data: bytes
    reason: str | None = None
    message: str | None = None


def read_records(file: BinaryIO) -> Iterator[CsvRecord]:
    """Yield the records of a file.

    Args:
        file: The bytes, from the first on.
    """
    lines = _Lines(file)
    rows = csv.reader(lines, strict=True)
    try:
        names = _read_header(lines, rows)
    except _FaultError as fault:
        yield _reject(1, lines, "unreadable_csv", f"{DROP_REASONS['unreadable_csv']}: {fault}")
        return
    while True:
        lines.begin()
        first = lines.number + 1
        try:
            cells = next(rows, None)
            if cells is None:
                return
            if not cells:
                continue
            _check(cells, names, lines.raw)
        except _TooLongError:
            yield _reject(first, lines, "oversize", INGEST_REASONS["oversize"])
        except (csv.Error, _FaultError) as fault:
            detail = fault if isinstance(fault, _FaultError) else _NOT_RFC_4180
            yield _reject(first, lines, "malformed_csv", f"{DROP_REASONS['malformed_csv']}: {detail}")
        else:
            yield CsvRecord(first, encode_event(build_event(names, cells)))


class _FaultError(Exception):
    """Why a header or a record is of no use; caught in this module."""


class _TooLongError(Exception):
    """A record has reached `MAX_RECORD_BYTES`; caught in this module."""


class _Lines:
    """The lines of a file as text, and the bytes of those that the record under way has taken.

    Bytes that are no UTF-8 become lone surrogates. A byte-order mark before the first line is no part of it.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._held = b""
        self._size = 0
        self.number = 0
        self.taken: list[bytes] = []

    @property
    def raw(self) -> bytes:
        """The bytes of the record."""
        return b"".join(self.taken)

    def begin(self) -> None:
        """Begin a record."""
        self.taken, self._size = [], 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._held or self._file.readline(MAX_RECORD_BYTES + 1)
        self._held = b""
        if not line:
            raise StopIteration
        if self.taken and self._size + len(line) > MAX_RECORD_BYTES:
            # An unclosed quote, most likely: the record ends here, and this line may be a good one.
            self._held = line
            raise _TooLongError
        self.number += 1
        if len(line) > MAX_RECORD_BYTES:
            self.taken = [line[:MAX_RECORD_BYTES]]
            self._skip_rest(line)
            raise _TooLongError
        if self.number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        self.taken.append(line)
        self._size += len(line)
        return line.decode("utf-8", "surrogateescape")

    def _skip_rest(self, part: bytes) -> None:
        while part and not part.endswith(b"\n"):
            part = self._file.readline(MAX_RECORD_BYTES)


def _read_header(lines: _Lines, rows: Iterator[list[str]]) -> list[str]:
    lines.begin()
    try:
        cells = next(rows, None)
    except (csv.Error, _TooLongError):
        _check_encoding(lines.raw)
        raise _FaultError(f"its header has {_NOT_RFC_4180}, or no end") from None
    if cells is None:
        raise _FaultError("it is empty")
    _check_encoding(lines.raw)
    names = name_columns(cells)
    if fault := find_header_fault(names):
        raise _FaultError(f"its header is {fault}")
    _check(cells, names, lines.raw)
    return names


def _check_encoding(header: bytes) -> None:
    if header.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in header:
        raise _FaultError("it is UTF-16, UTF-32 or no text; expected UTF-8")
    try:
        header.decode()
    except UnicodeDecodeError:
        raise _FaultError("its header is not UTF-8") from None


def _check(cells: list[str], names: list[str], raw: bytes) -> None:
    if b"\0" in raw:
        raise _FaultError("a NUL byte")
    if b'"' in raw and not _RFC_4180.fullmatch(raw):
        raise _FaultError(_NOT_RFC_4180)
    if len(cells) != len(names):
        raise _FaultError(f"{len(cells)} cells under {len(names)} columns")


def _reject(line: int, lines: _Lines, reason: str, message: str) -> CsvRecord:
    return CsvRecord(line, lines.raw, reason, message)
