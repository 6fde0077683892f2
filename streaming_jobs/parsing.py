"""Bytes in, listens or reasons out: the ingest rules of `lakehouse.events` on a frame. Pure, no session, no I/O.

Every event of a record comes out exactly once, as a listen (`reject_reason` null) or as a reject with its reason.
"""

from __future__ import annotations

from functools import reduce
from typing import Final

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lakehouse import events, listen_rules
from lakehouse.tables import PROCESSED_LISTENS, REJECTED_RECORDS
from streaming_jobs import plain_events
from streaming_jobs.json_lines import split_records

_JSON_OPTIONS: Final = {"allowSingleQuotes": "false", "allowNonNumericNumbers": "false"}

_POSITION: Final = {
    "stream": "streamName",
    "shard_id": "shardId",
    "sequence_number": "sequenceNumber",
    "arrived_at": "approximateArrivalTimestamp",
}


def parse_records(records: DataFrame) -> DataFrame:
    """Decode and judge stream records.

    Args:
        records: Columns of the Kinesis source (`streaming_jobs.kinesis_source`).

    Returns:
        One row per event: the columns of `PROCESSED_LISTENS`, plus `data` and `payload`, the event as bytes and as
        text, and `reject_reason` and `reject_message`, which are null for a listen.
    """
    renamed = records.withColumnsRenamed({source: ours for ours, source in _POSITION.items()})
    placed = split_records(renamed).withColumn("payload", F.col("data").cast("string"))
    # A step each: an expression that is named before it is used is evaluated once a row.
    readable = placed.withColumn("text", _readable_text())
    plain = readable.withColumn("plain", plain_events.decoded(F.col("text"))).withColumn("plain", _plain())
    decoded = plain.withColumn("pair", _pair()).withColumn("members", _members())
    typed = decoded.withColumns({f"type_{name}": _json_type(name) for name in events.FIELDS})
    valued = typed.withColumns({name: _value(name, kind) for name, kind in events.FIELDS.items()})
    timed = valued.withColumn("listen_time", listen_rules.listen_time(F.col("listen_time")))
    judged = timed.withColumn("reject_reason", _reason())
    return judged.select(
        *[_output(name) for name in PROCESSED_LISTENS.columns],
        "data",
        "payload",
        "reject_reason",
        _message().alias("reject_message"),
    )


def accepted_listens(parsed: DataFrame) -> DataFrame:
    """Return the listens. One row per accepted delivery, columns of `PROCESSED_LISTENS`."""
    return parsed.where(F.col("reject_reason").isNull()).select(*PROCESSED_LISTENS.columns)


def rejected_records(parsed: DataFrame, batch: str) -> DataFrame:
    """Return the rejects with their payload in full. One row per rejected event, columns of `REJECTED_RECORDS`.

    Args:
        parsed: Output of `parse_records`.
        batch: Path of the micro-batch, kept in each record.
    """
    readable = F.expr("is_valid_utf8(payload)")
    rejects = parsed.where(F.col("reject_reason").isNotNull()).select(
        F.col("reject_reason").alias("reason"),
        F.col("reject_message").alias("message"),
        listen_rules.fingerprint(F.col("reject_reason"), F.col("reject_message")).alias("fingerprint"),
        F.when(readable, F.col("payload")).alias("payload"),
        F.when(~readable, F.base64("data")).alias("payload_base64"),
        "event_id",
        "stream",
        "shard_id",
        "sequence_number",
        "line",
        "arrived_at",
        F.lit(batch).alias("source_batch"),
    )
    return rejects.select(*REJECTED_RECORDS.columns)


def _sentinel() -> Column:
    """A name that no payload holds, since it is made of the payload's own digest.

    Spark's parser reads the first JSON value of a text and ignores what follows it. Read as the first of two elements,
    the second one with this name, anything that is not exactly one value breaks the list or moves its end.
    """
    return F.concat(F.lit("listenlake:end:"), F.sha1("data"))


def _readable_text() -> Column:
    """The payload, null where it is too large or no UTF-8."""
    small_text = (F.octet_length("data") <= events.MAX_EVENT_BYTES) & F.expr("is_valid_utf8(payload)")
    return F.when(small_text, F.col("payload"))


def _plain() -> Column:
    """The fields of a payload that takes the short way, null for one that takes the strict way."""
    plain = F.col("plain")
    return F.when(plain_events.complete(plain) & plain_events.names_differ(plain, F.col("text")), plain)


def _is_plain() -> Column:
    return F.col("plain").isNotNull()


def _pair() -> Column:
    """The payload's members and the sentinel's, each member a variant that keeps its JSON type; null if unreadable."""
    listed = F.concat(F.lit("["), F.col("text"), F.lit(',{"'), _sentinel(), F.lit('":0}]'))
    return F.when(~_is_plain(), F.from_json(listed, "ARRAY<MAP<STRING, VARIANT>>", _JSON_OPTIONS))


def _members() -> Column:
    """The object's members by name; null unless the payload is exactly one object."""
    is_one_value = (F.size("pair") == 2) & F.map_contains_key(F.get("pair", F.lit(1)), _sentinel())
    return F.when(is_one_value, F.get("pair", F.lit(0)))


def _json_type(name: str) -> Column:
    return F.schema_of_variant(F.col("members")[name])


def _present(name: str) -> Column:
    return F.coalesce(F.col(f"type_{name}") != "VOID", F.lit(False))


def _value(name: str, kind: str) -> Column:
    value = F.try_variant_get(F.col("members")[name], "$", kind.lower())
    return F.when(_is_plain(), F.col("plain")[name]).when(F.col(f"type_{name}") == kind, value)


def _names_repeat() -> Column:
    names = F.map_keys("members")
    return F.size(F.array_distinct(names)) < F.size(names)


def _absent_fields() -> Column:
    return F.concat_ws(", ", *[F.when(~_present(name), F.lit(name)) for name in events.REQUIRED_FIELDS])


def _has_wrong_type(name: str) -> Column:
    return _present(name) & (F.col(f"type_{name}") != events.FIELDS[name])


def _mistyped_fields() -> Column:
    shown = [
        F.when(_has_wrong_type(name), F.concat(F.lit(f"{name} as "), F.col(f"type_{name}"), F.lit(f" for {kind}")))
        for name, kind in events.FIELDS.items()
    ]
    return F.concat_ws(", ", *shown)


def _reason() -> Column:
    """The first reason that applies, in the order of `INGEST_REASONS`; null for a listen."""
    absent = reduce(lambda one, other: one | other, [~_present(name) for name in events.REQUIRED_FIELDS])
    mistyped = reduce(lambda one, other: one | other, [_has_wrong_type(name) for name in events.FIELDS])
    # A plain payload has been found to be one object with every required field, each of its type.
    broken = F.col("members").isNull() | _names_repeat()
    tests = {
        "oversize": F.octet_length("data") > events.MAX_EVENT_BYTES,
        "invalid_utf8": F.col("text").isNull(),
        "invalid_json": ~_is_plain() & broken,
        "missing_field": ~_is_plain() & absent,
        "wrong_type": ~_is_plain() & mistyped,
        "invalid_value": listen_rules.invalid_value(F.col("track_id"), F.col("event_id")),
        "invalid_time": F.col("listen_time").isNull(),
        "impossible_time": listen_rules.impossible_time(F.col("listen_time"), F.col("arrived_at")),
    }
    if tests.keys() != events.INGEST_REASONS.keys():
        raise AssertionError("every ingest reason needs its test")
    return F.coalesce(*[F.when(test, F.lit(code)) for code, test in tests.items()])


def _message() -> Column:
    """What was wrong, for people: the reason's meaning, and the fields where that says more."""
    reason = F.col("reject_reason")
    told = [F.when(reason == code, F.lit(text)) for code, text in events.INGEST_REASONS.items()]
    fields = F.when(reason == "missing_field", _absent_fields()).when(reason == "wrong_type", _mistyped_fields())
    return F.concat_ws(": ", F.coalesce(*told), fields)


def _output(name: str) -> Column:
    if name == "event_id":
        return (
            F.when(F.col("reject_reason").isNull(), listen_rules.event_id(F.col("event_id")))
            .otherwise(F.col("event_id"))
            .alias(name)
        )
    if name == "extra":
        return _unknown_members().alias(name)
    return F.col(name)


def _unknown_members() -> Column:
    """Members that the contract does not know, as JSON text by name; null when there are none."""
    known = F.array(*[F.lit(name) for name in events.FIELDS])
    unknown = F.map_filter("members", lambda name, _: ~F.array_contains(known, name))
    as_text = F.transform_values(unknown, lambda _, value: F.to_json(value))
    return F.when(~_names_repeat() & (F.size(unknown) > 0), as_text)
