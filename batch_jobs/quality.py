"""The validation rules of the KPIs: pure, frames in, frames out. A failing row is dropped and counted, by rule."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Final

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lakehouse.tables import VALIDATION_RULES

_TOTAL: Final = "total_rows"
_VALID: Final = "valid_rows"


def _blank(name: str) -> Column:
    """Blank text counts as null."""
    return F.coalesce(F.col(name).rlike(r"^\s*$"), F.lit(True))


_BROKEN: Final[dict[str, Callable[[], Column]]] = {
    "user_id_null": lambda: F.col("user_id").isNull(),
    "track_name_null": lambda: _blank("track_name"),
    "track_genre_null": lambda: _blank("track_genre"),
    "listen_time_null": lambda: F.col("listen_time").isNull(),
    "listen_date_null": lambda: F.col("listen_date").isNull(),
    "duration_ms_not_positive": lambda: F.coalesce(F.col("duration_ms") <= 0, F.lit(True)),
}
if tuple(_BROKEN) != VALIDATION_RULES:
    raise AssertionError("every validation rule needs its test, in the order of the metrics file")


def _any_broken() -> Column:
    return reduce(lambda one, other: one | other, [broken() for broken in _BROKEN.values()])


def valid_listens(listens: DataFrame) -> DataFrame:
    """Return the listens that break no rule. One row per valid listen, columns as given."""
    return listens.where(~_any_broken())


def count_by_rule(listens: DataFrame) -> dict[str, int]:
    """Count the listens: all, valid, dropped, and those that break each rule (a row may break several)."""
    counts = [F.count_if(broken()).alias(rule) for rule, broken in _BROKEN.items()]
    row = listens.agg(F.count("*").alias(_TOTAL), F.count_if(~_any_broken()).alias(_VALID), *counts).first()
    if row is None:
        raise AssertionError("an aggregate without groups has one row")
    counted = {name: int(value) for name, value in row.asDict().items()}
    return counted | {"dropped_rows": counted[_TOTAL] - counted[_VALID]}
