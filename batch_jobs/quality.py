"""The validation rules of the KPIs: pure, frames in, frames out. A failing row is dropped and counted, by rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce
from typing import Final

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F

from lakehouse.tables import VALIDATION_RULES

TOTAL: Final = "total_rows"
VALID: Final = "valid_rows"


def _blank(name: str) -> Column:
    """Blank text counts as null."""
    # White space sorts before "!": what does not begin with any is told apart without the regular expression.
    blank = F.when(F.col(name) >= "!", F.lit(False)).otherwise(F.col(name).rlike(r"^\s*$"))
    return F.coalesce(blank, F.lit(True))


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


def count_by_date(listens: DataFrame, *and_by: str) -> DataFrame:
    """Count the listens: all, valid, and those that break each rule (a row may break several).

    Returns:
        One row per listen_date and `and_by`, with a column for each count.
    """
    counts = [F.count_if(broken()).alias(rule) for rule, broken in _BROKEN.items()]
    return listens.groupBy("listen_date", *and_by).agg(
        F.count("*").alias(TOTAL), F.count_if(~_any_broken()).alias(VALID), *counts
    )


def totals(counts: Iterable[Row]) -> dict[str, int]:
    """Add the rows of `count_by_date` up, as the line of metrics names them."""
    rows = list(counts)
    found = {name: sum(row[name] for row in rows) for name in (TOTAL, VALID, *_BROKEN)}
    return found | {"dropped_rows": found[TOTAL] - found[VALID]}
