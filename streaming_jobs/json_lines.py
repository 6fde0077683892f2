r"""Records in, events out: a record may hold many events as JSON Lines. `lakehouse.events.split_events` on a frame.

Every byte of a line comes out as it came in, also where it is no UTF-8: Spark splits Java strings, and of all encodings
ISO 8859-1 alone turns any bytes into such a string and back. Pure, no session, no I/O.
"""

from __future__ import annotations

from typing import Final

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

_BYTES: Final = "ISO-8859-1"
_LINE_END: Final = "\r?\n|\r\\z"


def split_records(records: DataFrame) -> DataFrame:
    """Take records apart into events.

    Args:
        records: A binary column `data` and any others.

    Returns:
        One row per event: `data`, the event's own bytes; `line`, from 1, where in its record it stands; the others.
    """
    others = [name for name in records.columns if name != "data"]
    # Not `posexplode`: Spark would compute the lines a second time, to leave out records that have none.
    exploded = records.select(*others, F.posexplode_outer(_lines()).alias("place", "data"))
    return exploded.where(F.col("data").isNotNull()).select(
        *others, "data", (F.col("place") + F.lit(1)).cast("int").alias("line")
    )


def _lines() -> Column:
    """The record's lines as bytes, null where a line is empty; one entry for a record that is one event."""
    text = F.split(F.decode("data", _BYTES), _LINE_END)
    lines = F.transform(text, lambda line: F.when(line != "", F.encode(line, _BYTES)))
    return F.when(_is_json_lines(), lines).otherwise(F.array("data"))


def _is_json_lines() -> Column:
    record = F.col("data").cast("string")
    # The first test is false of nearly every record that is one event, and saves it the other two.
    return F.contains(record, F.lit("\n{")) & (F.contains(record, F.lit("}\n{")) | F.contains(record, F.lit("}\r\n{")))
