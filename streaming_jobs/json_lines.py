r"""Records in, events out: a record may hold many events as JSON Lines. `lakehouse.events.split_events` on a frame.

Every byte of a line comes out as it came in, also where it is no UTF-8: Spark splits Java strings, and of all encodings
ISO 8859-1 alone turns any bytes into such a string and back. A record that is UTF-8 needs no such detour. Pure, no
session, no I/O.
"""

from __future__ import annotations

from typing import Final

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

_BYTES: Final = "ISO-8859-1"


def split_records(records: DataFrame) -> DataFrame:
    """Take records apart into events.

    Args:
        records: A binary column `data` and any others.

    Returns:
        One row per event: `data`, the event's own bytes; `line`, from 1, where in its record it stands; the others.
    """
    others = [name for name in records.columns if name != "data"]
    # Not `posexplode`: Spark would compute the lines a second time, to leave out records that have none.
    exploded = (
        records.withColumn("is_lines", _is_json_lines())
        .withColumn("is_latin", F.col("is_lines") & ~F.expr("is_valid_utf8(cast(data AS STRING))"))
        .select(*others, "is_lines", "is_latin", F.posexplode_outer(_lines()).alias("place", "text"))
    )
    events = exploded.where(~F.col("is_lines") | ~F.col("text").isin("", "\r"))
    return events.select(*others, _line_bytes().alias("data"), (F.col("place") + F.lit(1)).cast("int").alias("line"))


def _lines() -> Column:
    """The record's lines as text; one entry, the bytes as they are, for a record that is one event."""
    record = F.col("data").cast("string")
    in_some_text = F.when(F.col("is_latin"), F.decode("data", _BYTES)).otherwise(record)
    return F.when(F.col("is_lines"), F.split(in_some_text, "\n")).otherwise(F.array(record))


def _line_bytes() -> Column:
    text = F.col("text")
    ends_in_return = F.col("is_lines") & F.endswith(text, F.lit("\r"))
    line = F.when(ends_in_return, F.left(text, F.length(text) - 1)).otherwise(text)
    return F.when(F.col("is_latin"), F.encode(line, _BYTES)).otherwise(line.cast("binary"))


def _is_json_lines() -> Column:
    record = F.col("data").cast("string")
    # The first test is false of nearly every record that is one event, and saves it the other two.
    return F.contains(record, F.lit("\n{")) & (F.contains(record, F.lit("}\n{")) | F.contains(record, F.lit("}\r\n{")))
