"""KPI rows against those that a presentation table holds: pure, frames in, frames out."""

from __future__ import annotations

from datetime import date, datetime
from typing import Final

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakehouse.delta import on_dates
from lakehouse.tables import PROVENANCE_COLUMNS, Table

DIFFERS: Final = "differs"
GONE: Final = "gone"


def with_provenance(kpis: DataFrame, *, curated_version: int, run_id: str, computed_at: datetime) -> DataFrame:
    """Add where the rows come from: the columns of `PROVENANCE_COLUMNS`. Grain as given."""
    return kpis.withColumns(
        {
            "curated_version": F.lit(curated_version).cast("bigint"),
            "run_id": F.lit(run_id),
            "computed_at": F.lit(computed_at.isoformat()).cast("timestamp"),
        }
    )


def compared(current: DataFrame, wanted: DataFrame, table: Table, dates: list[date]) -> DataFrame:
    """Compare rows by key.

    Args:
        current: What the table holds, on these dates at least. One row per key.
        wanted: What it shall hold for these dates, with provenance. One row per key.
        table: Their contract.
        dates: The listen dates, whole.

    Returns:
        One row per key of either: the columns of `table`, as they are where the KPIs are the same; whether it
        `differs`; and whether it is `gone`, which is to vanish.
    """
    values = [name for name in table.columns if name not in {*table.key, *PROVENANCE_COLUMNS}]
    rest = [name for name in table.columns if name not in table.key]
    sides = {
        "now": current.select(*table.key, F.struct(*values).alias("now"), F.struct(*rest).alias("now_row")),
        "then": wanted.select(*table.key, F.struct(*values).alias("then"), F.struct(*rest).alias("then_row")),
    }
    both = sides["then"].join(sides["now"], on=list(table.key), how="full_outer")
    differs = F.expr(on_dates(dates)) & ~F.col("now").eqNullSafe(F.col("then"))
    row = F.when(differs, F.col("then_row")).otherwise(F.col("now_row"))
    told = both.select(*table.key, row.alias("row"), differs.alias(DIFFERS))
    return told.select(*table.key, *[f"row.{name}" for name in rest], DIFFERS, F.col("row").isNull().alias(GONE))
