"""Rows of a presentation table as items: plain values with their version."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, datetime
from itertools import groupby
from typing import Any, Final

import pyarrow as pa

from lakehouse.delta_rows import Change, Row
from lakehouse.tables import Table

Item = dict[str, Any]

_INSERT: Final = "insert"
_DELETE: Final = "delete"
_TIME_FORMAT: Final = "%Y-%m-%dT%H:%M:%S.%fZ"


def latest_changes(changes: Iterable[Change], table: Table) -> list[Change]:
    """Reduce a change feed, in order of its commits, to the newest change of each key, an insert or a delete.

    What one commit has taken away and written with the same values has only moved to another file: it is no change.
    """
    newest: dict[tuple[Any, ...], Change] = {}
    for version, made in groupby(changes, key=lambda change: change.version):
        before: dict[tuple[Any, ...], Row] = {}
        after: dict[tuple[Any, ...], Row] = {}
        for change in made:
            rows = before if change.kind in (_DELETE, "update_preimage") else after
            rows[tuple(change.row[name] for name in table.key)] = change.row
        for key in before | after:
            if before.get(key) != after.get(key):
                row, kind = (after[key], _INSERT) if key in after else (before[key], _DELETE)
                newest[key] = Change(row, kind, version)
    return list(newest.values())


def as_changes(rows: Iterable[pa.Table], *, version: int) -> Iterator[Change]:
    """Yield a whole table as of `version` as if that commit had written every row."""
    for some in rows:
        for row in some.to_pylist():
            yield Change(row, _INSERT, version)


def to_items(changes: Iterable[Change], table: Table, *, version_offset: int) -> Iterator[Item]:
    """Yield changes as items of plain values: str, int, Decimal, list, dict; a date and a time as ISO 8601 text.

    Args:
        changes: Output of `latest_changes` or `as_changes`; taken one at a time.
        table: The contract of the presentation table.
        version_offset: What is added to a commit's version to give `source_version`.
    """
    for change in changes:
        gone = change.kind == _DELETE
        kept = table.key if gone else table.columns
        item = {name: _plain(change.row[name]) for name in kept if change.row[name] is not None}
        yield {**item, "source_version": version_offset + change.version, "deleted": gone}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.strftime(_TIME_FORMAT)
    return value.isoformat() if isinstance(value, date) else value
