"""Write KPI rows into a presentation table: only rows that differ, in one commit, or no commit at all.

A row that is served carries the version of the commit that wrote it, so a commit that changes nothing must not be.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Final

from delta.tables import DeltaTable
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lakehouse.delta import date_list
from lakehouse.tables import PROVENANCE_COLUMNS, Table

_GONE: Final = "gone"


def with_provenance(kpis: DataFrame, *, curated_version: int, run_id: str, computed_at: datetime) -> DataFrame:
    """Add where the rows come from: the columns of `PROVENANCE_COLUMNS`. Grain as given."""
    return kpis.withColumns(
        {
            "curated_version": F.lit(curated_version).cast("bigint"),
            "run_id": F.lit(run_id),
            "computed_at": F.lit(computed_at.isoformat()).cast("timestamp"),
        }
    )


def changed_rows(current: DataFrame, wanted: DataFrame, table: Table) -> DataFrame:
    """Compare rows by key.

    Args:
        current: What the table holds for some dates. One row per key.
        wanted: What it shall hold for those dates, with provenance. One row per key.
        table: Their contract.

    Returns:
        One row per key that differs: the columns of `table`, and `gone`, true where the key shall vanish.
    """
    values = [name for name in table.columns if name not in {*table.key, *PROVENANCE_COLUMNS}]
    now = current.select(*table.key, F.struct(*values).alias("now"))
    then = wanted.withColumn("then", F.struct(*values))
    both = then.join(now, on=list(table.key), how="full_outer")
    differs = both.where(~F.col("now").eqNullSafe(F.col("then")))
    return differs.withColumn(_GONE, F.col("then").isNull()).select(*table.columns, _GONE)


def merge_changes(delta: DeltaTable, changes: DataFrame, table: Table, dates: list[date]) -> None:
    """Apply `changed_rows` in one commit."""
    keys = " AND ".join(f"t.{name} = s.{name}" for name in table.key)
    columns: dict[str, str | Column] = {name: f"s.{name}" for name in table.columns}
    (
        delta.alias("t")
        .merge(changes.alias("s"), f"t.listen_date IN ({date_list(dates)}) AND {keys}")
        .whenMatchedDelete(condition=f"s.{_GONE}")
        .whenMatchedUpdate(set=columns)
        .whenNotMatchedInsert(values=columns)
        .execute()
    )
