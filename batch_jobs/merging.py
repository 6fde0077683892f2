"""The insert-only MERGE into `transformed-data/latest/`: what makes every listen count once.

The dates that a run touches enter the condition as literals: only then does Delta neither read nor rewrite a file of
any other date.
"""

from __future__ import annotations

from datetime import date

from delta.tables import DeltaTable
from pyspark.sql import DataFrame

from lakehouse.delta import date_list, on_dates
from lakehouse.tables import CURATED_LISTENS


def existing_listens(latest: DataFrame, dates: list[date]) -> DataFrame:
    """Return the listens merged so far on these dates. One row per (listen_date, listen_time, event_id)."""
    return latest.where(on_dates(dates))


def merge_new(latest: DeltaTable, listens: DataFrame, dates: list[date]) -> None:
    """Insert the listens whose key is not in the table yet; commits nothing when all of them are.

    Args:
        latest: The curated table.
        listens: One row per (listen_date, listen_time, event_id), columns of `CURATED_LISTENS`.
        dates: Every listen_date of `listens`.
    """
    keys = " AND ".join(f"t.{name} = s.{name}" for name in ("listen_date", *CURATED_LISTENS.key))
    condition = f"t.listen_date IN ({date_list(dates)}) AND {keys}"
    latest.alias("t").merge(listens.alias("s"), condition).whenNotMatchedInsertAll().execute()
