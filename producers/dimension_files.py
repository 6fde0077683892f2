"""Reads users.csv and songs.csv into DuckDB as RFC 4180 has it, all text first, then cast.

A row that does not fit its columns (other number of cells, a number that is none) is left out, as the pipeline sets
it aside. Songs get one row per track: the lowest id.
"""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Final

from lakehouse.tables import SONGS, SONGS_REQUIRED, USERS, USERS_REQUIRED
from producers.errors import ProducerError

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb

    from lakehouse.tables import Table

FITS: Final = {
    "BIGINT": "(regexp_full_match({0}, '[+-]?[0-9]+') AND TRY_CAST({0} AS BIGINT) IS NOT NULL)",
    "INT": "(regexp_full_match({0}, '[+-]?[0-9]+') AND TRY_CAST({0} AS INTEGER) IS NOT NULL)",
    "DOUBLE": "TRY_CAST({0} AS DOUBLE) IS NOT NULL",
    "BOOLEAN": "lower({0}) IN ('true', 'false')",
}
"""Test per Spark type that a text which is not null can be read as it."""

READ: Final = """
CREATE TABLE {name}_rows AS
SELECT *, row_number() OVER () AS file_row FROM read_csv(
    $path, auto_detect = false, header = true, delim = ',', quote = '"', escape = '"', columns = $columns,
    ignore_errors = true, null_padding = false, parallel = false
)
"""
USERS_SQL: Final = (
    "CREATE TABLE users AS SELECT DISTINCT CAST(user_id AS BIGINT) AS user_id FROM users_rows WHERE {fits}"
)
SONGS_SQL: Final = """
CREATE TABLE songs AS
SELECT track_id, track_name, artists, track_genre, CAST(duration_ms AS BIGINT) AS duration_ms
FROM songs_rows WHERE {fits} AND track_id IS NOT NULL
QUALIFY row_number() OVER (PARTITION BY track_id ORDER BY CAST(id AS BIGINT) NULLS LAST, file_row) = 1
"""


def check_dimensions(users_csv: Path, songs_csv: Path) -> None:
    """Look at the headers only, so that a file that can't be used is met before anything is sent.

    Raises:
        ProducerError: A file is missing, empty or lacks a required column.
    """
    _read_header(users_csv, USERS_REQUIRED)
    _read_header(songs_csv, SONGS_REQUIRED)


def read_dimensions(connection: duckdb.DuckDBPyConnection, users_csv: Path, songs_csv: Path) -> None:
    """Make the tables `users` (one row per user_id) and `songs` (one row per track_id).

    Raises:
        ProducerError: A file is missing, empty or lacks a required column.
    """
    users_fit = _read_rows(connection, users_csv, USERS, USERS_REQUIRED)
    connection.execute(USERS_SQL.format(fits=users_fit))
    songs_fit = _read_rows(connection, songs_csv, SONGS, SONGS_REQUIRED)
    connection.execute(SONGS_SQL.format(fits=songs_fit))


def _read_rows(connection: duckdb.DuckDBPyConnection, path: Path, table: Table, required: tuple[str, ...]) -> str:
    """Make the table of the file's rows as text; return the condition that a row fits its columns."""
    names = _read_header(path, required)
    columns = dict.fromkeys(names, "VARCHAR")
    connection.execute(READ.format(name=table.name), {"path": str(path), "columns": columns})
    for absent in (name for name in table.columns if name not in names):
        connection.execute(f"ALTER TABLE {table.name}_rows ADD COLUMN {absent} VARCHAR")
    types = dict(line.split() for line in table.ddl.split(",\n"))
    tests = (f"({name} IS NULL OR {FITS[kind].format(name)})" for name, kind in types.items() if kind in FITS)
    return " AND ".join(tests)


def _read_header(path: Path, required: tuple[str, ...]) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            names = next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ProducerError(
            expected=f"the dimension file {path}", found=str(error), do="Put the file there and run again."
        ) from error
    missing = [name for name in required if name not in names]
    if missing or len(set(names)) < len(names):
        raise ProducerError(
            expected=f"the columns {', '.join(required)} in {path}, each once",
            found=f"the header {','.join(names)!r}" if names else "an empty file",
            do="Correct the header line.",
        )
    return names
