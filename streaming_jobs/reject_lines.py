"""Rejects to JSON lines: the bytes that `lakehouse.bad_records.BadRecord.to_json` gives for each, for many at once.

What rejects share, which is most of what a line says, is put into JSON once: their cause, their shard, their arrival.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import datetime
from json.encoder import encode_basestring_ascii as quoted
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.bad_records import fingerprint_of


def to_json_lines(rejects: pa.Table, batch: str) -> bytes:
    """Return the lines of rejects.

    Args:
        rejects: One row per reject, columns of `parsing.PARSED`.
        batch: Path of the batch that they are part of.
    """
    # No code of a reason has a bar.
    causes = pc.binary_join_element_wise(rejects["reject_reason"], rejects["reject_message"], "|")
    lines = pc.binary_join_element_wise(
        _of_distinct(causes, _cause),
        _of_each(rejects["data"], _payload),
        _of_each(rejects["event_id"], _event_id),
        _of_distinct(rejects["stream"], _stream),
        _of_distinct(rejects["shard_id"], _shard_id),
        ', "sequence_number": ',
        _of_each(rejects["sequence_number"], quoted),
        ', "line": ',
        rejects["line"].cast(pa.string()),
        _of_distinct(rejects["arrived_at"], _arrived_at),
        f', "source_batch": {quoted(batch)}}}\n',
        "",
    )
    return b"".join(lines.cast(pa.binary()).to_pylist())


def _of_distinct(column: pa.ChunkedArray, told: Callable[[Any], str]) -> pa.StringArray:
    encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    return pa.array(map(told, encoded.dictionary.to_pylist()), pa.string()).take(encoded.indices)


def _of_each(column: pa.ChunkedArray, told: Callable[[Any], str]) -> pa.StringArray:
    return pa.array(list(map(told, column.to_pylist())), pa.string())


def _cause(reason_and_message: str) -> str:
    reason, _, message = reason_and_message.partition("|")
    told = {"reason": reason, "message": message, "fingerprint": fingerprint_of(reason, message)}
    return json.dumps(told).removesuffix("}")


def _payload(data: bytes) -> str:
    try:
        return ', "payload": ' + quoted(data.decode())
    except UnicodeDecodeError:
        return f', "payload_base64": "{base64.b64encode(data).decode()}"'


def _event_id(event_id: str | None) -> str:
    return "" if event_id is None else ', "event_id": ' + quoted(event_id)


def _stream(stream: str) -> str:
    return ', "stream": ' + quoted(stream)


def _shard_id(shard_id: str | None) -> str:
    return ', "shard_id": ' + quoted(shard_id) if shard_id else ""


def _arrived_at(moment: datetime | None) -> str:
    return f', "arrived_at": "{moment.isoformat(timespec="milliseconds")}"' if moment else ""
