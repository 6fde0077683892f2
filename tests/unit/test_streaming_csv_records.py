"""CSV files and what becomes of their records: tables by hand, a round trip, and bytes that nobody meant as CSV."""

from __future__ import annotations

import io
import json
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lakehouse.events import DROP_REASONS
from streaming_jobs.csv_records import MAX_RECORD_BYTES, CsvRecord, read_records

HEADER: Final = "user_id,track_id,listen_time"
TIME: Final = "2024-06-25T17:43:13Z"
ROW: Final = f"7,t,{TIME}"
EVENT: Final = {"user_id": 7, "track_id": "t", "listen_time": TIME}


def read(content: str | bytes) -> list[CsvRecord]:
    return list(read_records(io.BytesIO(content.encode() if isinstance(content, str) else content)))


def told(record: CsvRecord) -> tuple[int, Any]:
    """Line, and the event or the reason."""
    return record.line, json.loads(record.data) if record.reason is None else record.reason


GOOD: Final[dict[str, tuple[str | bytes, list[tuple[int, Any]]]]] = {
    "the least": (f"{HEADER}\n{ROW}\n", [(2, EVENT)]),
    "no end of line at the end": (f"{HEADER}\n{ROW}", [(2, EVENT)]),
    "CR LF": (f"{HEADER}\r\n{ROW}\r\n{ROW}\r\n", [(2, EVENT), (3, EVENT)]),
    "only a header": (f"{HEADER}\r\n", []),
    "a byte-order mark": (f"\ufeff{HEADER}\n{ROW}\n", [(2, EVENT)]),
    "a byte-order mark and quotes": (f'\ufeff"user_id",track_id,listen_time\n{ROW}\n', [(2, EVENT)]),
    "another order": (f"listen_time,user_id,track_id\n{TIME},7,t\n", [(2, EVENT)]),
    "blanks around names": (f" user_id ,track_id,\tlisten_time\n{ROW}\n", [(2, EVENT)]),
    "columns that the contract does not know": (
        f"user_id,mood,track_id,,listen_time\n7,glad,t,,{TIME}\n8,,t,x,{TIME}\n",
        [(2, EVENT | {"mood": "glad"}), (3, EVENT | {"user_id": 8, "column_4": "x"})],
    ),
    "optional columns": (
        f"{HEADER},event_id,played_ms\n{ROW},e,1500\n{ROW},,\n",
        [(2, EVENT | {"event_id": "e", "played_ms": 1500}), (3, EVENT)],
    ),
    "quotes": (f'{HEADER}\n"7","a ""b"", c",{TIME}\n', [(2, EVENT | {"track_id": 'a "b", c'})]),
    "a backslash is a letter": (f'{HEADER}\n7,"a\\",{TIME}\n', [(2, EVENT | {"track_id": "a\\"})]),
    "over many lines": (
        f'{HEADER}\r\n7,"a\r\nb\n\nc",{TIME}\r\n\r\n{ROW}\n',
        [(2, EVENT | {"track_id": "a\r\nb\n\nc"}), (7, EVENT)],
    ),
    "a header over two lines": (f'"mood\nor so",{HEADER}\n,{ROW}\n', [(3, EVENT)]),
    "what the rules of events decide": (
        f"{HEADER}\nseven,t,\n99999999999999999999,t,x\n",
        [(2, {"user_id": "seven", "track_id": "t"}), (3, {"user_id": "9" * 20, "track_id": "t", "listen_time": "x"})],
    ),
    "separators of lines that are letters here": (
        f'{HEADER}\n7,a\u2028b\x0b\x0c\x1c\x85,{TIME}\n7,"a\rb",{TIME}\n',
        [(2, EVENT | {"track_id": "a\u2028b\x0b\x0c\x1c\x85"}), (3, EVENT | {"track_id": "a\rb"})],
    ),
    "a byte-order mark in the middle is a letter": (
        f"{HEADER}\n7,\ufefft,{TIME}\n",
        [(2, EVENT | {"track_id": "\ufefft"})],
    ),
}

BAD_RECORDS: Final[dict[str, tuple[bytes, str]]] = {
    "a cell too few": (b"7,t", "2 cells under 3 columns"),
    "a cell too many": (f"7,a, b,{TIME}".encode(), "4 cells under 3 columns"),
    "blanks only": (b"  ", "1 cells under 3 columns"),
    "a letter after a quote": (f'7,"t"x,{TIME}'.encode(), "RFC 4180"),
    "a blank before a quote": (f'7, "t",{TIME}'.encode(), "RFC 4180"),
    "a quote in a bare cell": (f'7,a"b,{TIME}'.encode(), "RFC 4180"),
    "a quote after a backslash": (f'7,"a\\"b",{TIME}'.encode(), "RFC 4180"),
    "a bare carriage return": (f"7,a\rb,{TIME}".encode(), "RFC 4180"),
    "a NUL": (f"7,a\0b,{TIME}".encode(), "a NUL byte"),
    "a NUL in quotes": (f'7,"a\0",{TIME}'.encode(), "a NUL byte"),
}

BAD_FILES: Final[dict[str, tuple[bytes, str]]] = {
    "nothing": (b"", "it is empty"),
    "a blank line first": (f"\n{HEADER}\n{ROW}".encode(), "without user_id, track_id, listen_time"),
    "no header": (f"{ROW}\n{ROW}\n".encode(), "without user_id, track_id, listen_time"),
    "a column missing": (b"user_id,listen_time\n7,x\n", "without track_id"),
    "other names": (b"user,track_id,listen_time\n7,t,x\n", "without user_id"),
    "names in other case": (b"USER_ID,track_id,listen_time\n7,t,x\n", "without user_id"),
    "a column twice": (f"{HEADER},mood,mood\n".encode(), "with mood more than once"),
    "semicolons": (b"user_id;track_id;listen_time\n7;t;x\n", "without user_id, track_id, listen_time"),
    "UTF-16": (f"{HEADER}\n{ROW}\n".encode("utf-16"), "UTF-16"),
    "UTF-16 without a mark": (f"{HEADER}\n{ROW}\n".encode("utf-16-be"), "UTF-16"),
    "UTF-32": (f"{HEADER}\n{ROW}\n".encode("utf-32"), "UTF-32"),
    "gzip": (b"\x1f\x8b\x08\x00\x00\x00\x00\x00", "no text"),
    "a header in ISO 8859-1": (f"{HEADER},größe\n".encode("latin-1"), "not UTF-8"),
    "old ends of line": (f"{HEADER}\r{ROW}\r".encode(), "no end"),
    "an open quote in the header": (f'"{HEADER}\n{ROW}\n'.encode(), "no end"),
    "a quote in a bare name": (f'{HEADER},a"b\n'.encode(), "RFC 4180"),
    "a header without end": (b"user_id," * MAX_RECORD_BYTES, "no end"),
}


@pytest.mark.parametrize("name", GOOD)
def test_events_and_their_first_lines(name: str) -> None:
    content, expected = GOOD[name]
    assert [told(record) for record in read(content)] == expected


@pytest.mark.parametrize("name", BAD_RECORDS)
def test_a_record_that_fits_nothing_is_rejected_whole_and_its_neighbours_live(name: str) -> None:
    raw, detail = BAD_RECORDS[name]
    before, bad, after = read(b"%s\n%s\n%s\r\n%s" % (HEADER.encode(), ROW.encode(), raw, ROW.encode()))
    assert (told(before), told(after)) == ((2, EVENT), (4, EVENT))
    assert (bad.line, bad.reason, bad.data) == (3, "malformed_csv", raw + b"\r\n")
    assert bad.message is not None
    assert bad.message.startswith(DROP_REASONS["malformed_csv"])
    assert detail in bad.message


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_whose_header_says_nothing_is_one_reject(name: str) -> None:
    content, detail = BAD_FILES[name]
    [reject] = read(content)
    assert (reject.line, reject.reason) == (1, "unreadable_csv")
    assert reject.message is not None
    assert reject.message.startswith(DROP_REASONS["unreadable_csv"])
    assert detail in reject.message
    assert content.startswith(reject.data)


def test_bytes_that_are_no_utf8_pass_to_the_rules_of_events() -> None:
    bad, good = read(f"{HEADER}\n7,".encode() + b"M\xfcnchen\xed\xa0\x80," + f"{TIME}\n{ROW}\n".encode())
    assert bad == (
        2,
        b'{"user_id":7,"track_id":"M\xfcnchen\xed\xa0\x80","listen_time":"%s"}' % TIME.encode(),
        None,
        None,
    )
    assert told(good) == (3, EVENT)


def test_a_quote_that_opens_and_closes_far_below_takes_the_lines_between() -> None:
    lines = [HEADER, ROW, f'7,"t,{TIME}', ROW, ROW, f'8,"u",{TIME}', ROW]
    found = read("\n".join(lines))
    assert [told(record) for record in found] == [(2, EVENT), (3, "malformed_csv"), (7, EVENT)]
    assert found[1].data == "\n".join([*lines[2:6], ""]).encode()


def test_a_quote_that_never_closes_takes_no_more_than_one_record_may_hold() -> None:
    rows = 2 * MAX_RECORD_BYTES // (len(ROW) + 1)
    found = read(f'{HEADER}\n7,"t,{TIME}\n' + f"{ROW}\n" * rows)
    broken, *others = found
    assert (broken.line, broken.reason) == (2, "oversize")
    assert MAX_RECORD_BYTES - 2 * len(ROW) < len(broken.data) <= MAX_RECORD_BYTES
    taken = broken.data.count(b"\n")
    assert [told(record) for record in others] == [(line, EVENT) for line in range(2 + taken, rows + 3)]
    [short] = read(f'{HEADER}\n7,"t,{TIME}\n{ROW}\n')[:1]
    assert (short.line, short.reason, short.data.count(b"\n")) == (2, "malformed_csv", 2)


def test_a_line_too_long_for_a_record_is_rejected_by_its_beginning() -> None:
    long = f"7,{'x' * 3 * MAX_RECORD_BYTES},{TIME}"
    exact = f"7,{'x' * (MAX_RECORD_BYTES - len(TIME) - 4)},{TIME}\n"
    first, second, third = read(f"{HEADER}\n{long}\r\n{exact}{ROW}\n")
    assert first[:3] == (2, long[:MAX_RECORD_BYTES].encode(), "oversize")
    assert (second.line, second.reason, len(exact)) == (3, None, MAX_RECORD_BYTES)
    assert told(third) == (4, EVENT)


CELLS: Final = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12
) | st.sampled_from(['"', '""', ",", "\n", "\r\n", '",\n"', "\r", "{}\n{}"])


def quoted(cell: str) -> str:
    """The cell by RFC 4180."""
    needs_quotes = any(letter in cell for letter in '",\r\n')
    return '"' + cell.replace('"', '""') + '"' if needs_quotes else cell


@given(st.lists(st.tuples(CELLS, CELLS)), st.sampled_from(["\n", "\r\n"]))
def test_round_trip(rows: list[tuple[str, str]], end: str) -> None:
    text, expected = f"{HEADER},note{end}", []
    for track_id, note in rows:
        event: dict[str, Any] = {"user_id": 7, "listen_time": TIME}
        cells = {"track_id": track_id, "note": note}
        event |= {name: cell for name, cell in cells.items() if cell.strip()}
        expected.append((text.count("\n") + 1, event))
        text += f"7,{quoted(track_id)},{TIME},{quoted(note)}{end}"
    assert [told(record) for record in read(text)] == expected


@given(
    st.lists(st.sampled_from([b'"', b",", b"\n", b"\r", b"\0", b"\xff", b"7", b"t", TIME.encode(), b"\xef\xbb\xbf"]))
)
@example([b'"', b"\n", b'"', b"7", b'"'])
def test_whatever_the_bytes_every_line_is_in_one_record(parts: list[bytes]) -> None:
    content = f"{HEADER}\n".encode() + b"".join(parts)
    lines = content.split(b"\n")
    found = read(content)
    starts = [record.line for record in found] + [len(lines) + 1]
    assert starts == sorted(set(starts))
    assert b"".join(lines[1 : starts[0] - 1]).strip(b"\r") == b"", "only blank lines precede"
    for record, following in zip(found, starts[1:], strict=True):
        covered = b"\n".join(lines[record.line - 1 : following - 1])
        if record.reason is None:
            assert json.loads(record.data.decode("utf-8", "replace")).keys() <= {"user_id", "track_id", "listen_time"}
        else:
            raw = record.data.removesuffix(b"\n")
            assert covered.startswith(raw)
            assert covered.removeprefix(raw).strip(b"\r\n") == b"", "only blank lines follow"
