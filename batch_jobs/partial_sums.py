"""Partials of one date added up, and what they say: pure, Arrow tables in, Arrow tables out.

A date has as many partials as it has genres and tracks, and genres and blocks of users, however many listens: so few
that the driver has added them up before Spark has planned to.
"""

from __future__ import annotations

from collections import Counter
from datetime import date
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from batch_jobs.partials import LISTENERS, PLAYS
from lakehouse.lake_tables import DATE
from lakehouse.tables import LISTENER_WORDS

DAY: Final = "day"
_BITS_OF_A_BYTE: Final = np.array([byte.bit_count() for byte in range(256)], np.int64)

Numbers = npt.NDArray[np.int64]


def with_listens(parts: pa.Table, day: date, valid: int) -> pa.Table:
    """Return the partials of a date with its valid listens, as they were counted on their own, as a further row."""
    rows = [{DATE: day, "kind": DAY, "plays": valid}] if valid else []
    return pa.concat_tables([parts, pa.Table.from_pylist(rows, schema=parts.schema)])


def united(parts: pa.Table) -> pa.Table:
    """Add partials of separate listens of one date up.

    Args:
        parts: Columns of `KPI_PARTIALS`; a key may have many rows.

    Returns:
        The same columns, one row per key, in order of kind and key: equal partials are equal tables.
    """
    days = _of(parts, DAY).group_by(DATE).aggregate([("plays", "sum")]).rename_columns([DATE, "plays"])
    tracks = plays(parts).group_by([DATE, "track_genre", "track_id"])
    sums = [("track_name", "min"), ("artists", "min"), ("plays", "sum"), ("listening_time_ms", "sum")]
    added = tracks.aggregate(sums).rename_columns([DATE, "track_genre", "track_id", *[name for name, _ in sums]])
    kinds = {
        DAY: days,
        PLAYS: added.sort_by([("track_genre", "ascending"), ("track_id", "ascending")]),
        LISTENERS: _united_listeners(_of(parts, LISTENERS)),
    }
    return pa.concat_tables([_with_columns(rows, kind, parts.schema) for kind, rows in kinds.items()])


def plays(partials: pa.Table) -> pa.Table:
    """Return plays by track. One row per (track_genre, track_id)."""
    return _of(partials, PLAYS)


def unique_listeners(partials: pa.Table) -> dict[str, int]:
    """Count the distinct users by genre."""
    rows = _of(partials, LISTENERS)
    bits = sum((_bit_count(_numbers(rows, word)) for word in LISTENER_WORDS), np.zeros(rows.num_rows, np.int64))
    counted = pa.table({"genre": rows["track_genre"], "users": bits}).group_by("genre").aggregate([("users", "sum")])
    return dict(zip(counted["genre"].to_pylist(), counted["users_sum"].to_pylist(), strict=True))


def valid_listens(partials: pa.Table) -> int:
    """Return the valid listens, as counted apart from the plays."""
    return pc.sum(_of(partials, DAY)["plays"]).as_py() or 0


def count_differences(some: pa.Table, others: pa.Table) -> int:
    """Count the rows that only one of two sets of partials has, nulls being equal."""
    if some.equals(others):
        return 0
    one, other = (Counter(tuple(row.values()) for row in table.to_pylist()) for table in (some, others))
    return ((one - other) + (other - one)).total()


def starts_of(groups: Numbers) -> Numbers:
    """Return where each run of equal numbers begins."""
    changes = np.flatnonzero(np.diff(groups)) + 1
    return np.concatenate([np.zeros(min(len(groups), 1), np.int64), changes])


def _united_listeners(rows: pa.Table) -> pa.Table:
    if not rows.num_rows:
        return rows
    genres = rows["track_genre"].combine_chunks().dictionary_encode()
    names = genres.dictionary
    # Numbers in the order of the names: sorting texts costs more than all the rest.
    places = np.argsort(pc.sort_indices(names).to_numpy())
    genre, block = places[genres.indices.to_numpy()], _numbers(rows, "user_block")
    order = np.lexsort((block, genre))
    genre, block = genre[order], block[order]
    first = np.union1d(starts_of(genre), starts_of(block))
    kept = rows.take(pa.array(order[first])).select([DATE, "track_genre", "user_block"])
    for word in LISTENER_WORDS:
        kept = kept.append_column(word, pa.array(np.bitwise_or.reduceat(_numbers(rows, word)[order], first)))
    return kept


def _numbers(rows: pa.Table, name: str) -> Numbers:
    numbers: Numbers = rows[name].to_numpy()
    return numbers


def _bit_count(words: Numbers) -> Numbers:
    counts: Numbers = _BITS_OF_A_BYTE[words.view(np.uint8)].reshape(-1, words.itemsize).sum(axis=1)
    return counts


def _of(partials: pa.Table, kind: str) -> pa.Table:
    return partials.filter(pc.field("kind") == kind)


def _with_columns(rows: pa.Table, kind: str, schema: pa.Schema) -> pa.Table:
    """Give the rows of a kind the columns that they lack."""
    columns: dict[str, Any] = {name: rows[name] for name in rows.column_names}
    columns["kind"] = pa.repeat(pa.scalar(kind), rows.num_rows)
    made = [
        columns[one.name].cast(one.type) if one.name in columns else pa.nulls(rows.num_rows, one.type) for one in schema
    ]
    return pa.table(dict(zip(schema.names, made, strict=True)), schema=schema)
