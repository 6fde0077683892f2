"""Rejects to JSON lines: the bytes that `lakehouse.bad_records.BadRecord.to_json` gives for each, for many at once.

What rejects share, which is most of what a line says, is put into JSON once: their cause, their shard, their arrival.
What each has for itself is escaped in columns, save for texts beyond printable ASCII.
"""

from __future__ import annotations

import json
from binascii import b2a_base64
from collections.abc import Callable
from datetime import datetime
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.bad_records import fingerprint_of

_REJECTS_AT_ONCE: Final = 1_000_000
"""An array of texts ends at 2 GiB, however short the rejected events of a file are."""


def to_json_lines(rejects: pa.Table, batch: str) -> bytes:
    """Return the lines of rejects.

    Args:
        rejects: One row per reject, columns of `parsing.PARSED`.
        batch: Path of the batch that they are part of.
    """
    return b"".join(_lines(some, batch) for some in rejects.combine_chunks().to_batches(_REJECTS_AT_ONCE))


def _lines(rejects: pa.RecordBatch, batch: str) -> bytes:
    # No code of a reason has a bar.
    causes = pc.binary_join_element_wise(rejects["reject_reason"], rejects["reject_message"], "|")
    lines = pc.binary_join_element_wise(
        _of_distinct(causes, _cause),
        _of_each(rejects["data"], "payload", _odd_payload),
        pc.fill_null(_of_each(rejects["event_id"], "event_id", _odd_event_id), ""),
        _of_distinct(rejects["stream"], _stream),
        _of_distinct(rejects["shard_id"], _shard_id),
        _of_each(rejects["sequence_number"], "sequence_number", _odd_sequence_number),
        ', "line": ',
        rejects["line"].cast(pa.string()),
        _of_distinct(rejects["arrived_at"], _arrived_at),
        f', "source_batch": {quoted(batch)}}}\n',
        "",
    )
    *_, told = lines.buffers()
    return bytes(told)


def _of_distinct(column: pa.Array, told: Callable[[Any], str]) -> pa.StringArray:
    encoded = column.dictionary_encode(null_encoding="encode")
    return pa.array(map(told, encoded.dictionary.to_pylist()), pa.string()).take(encoded.indices)


def _of_each(column: pa.Array, name: str, told: Callable[[bytes], str]) -> pa.StringArray:
    """The member of each line, by `told` where the value is more than printable ASCII; null where it is null."""
    values = column.view(pa.string())
    # JSON escapes none of the printable ones but these two.
    escaped = pc.replace_substring(pc.replace_substring(values, "\\", r"\\"), '"', r"\"")
    members = pc.binary_join_element_wise(f', "{name}": "', escaped, '"', "")
    is_odd = pc.invert(pc.ascii_is_printable(values))
    if not pc.any(is_odd).as_py():
        return members
    odd = map(told, column.filter(is_odd).cast(pa.binary()).to_pylist())
    return pc.replace_with_mask(members, is_odd, pa.array(odd, pa.string()))


def _cause(reason_and_message: str) -> str:
    reason, _, message = reason_and_message.partition("|")
    told = {"reason": reason, "message": message, "fingerprint": fingerprint_of(reason, message)}
    return json.dumps(told).removesuffix("}")


def _odd_payload(data: bytes) -> str:
    try:
        return ', "payload": ' + quoted(data.decode())
    except UnicodeDecodeError:
        return f', "payload_base64": "{b2a_base64(data, newline=False).decode()}"'


def _odd_event_id(event_id: bytes) -> str:
    return ', "event_id": ' + quoted(event_id.decode())


def _odd_sequence_number(number: bytes) -> str:
    return ', "sequence_number": ' + quoted(number.decode())


def _stream(stream: str) -> str:
    return ', "stream": ' + quoted(stream)


def _shard_id(shard_id: str | None) -> str:
    return ', "shard_id": ' + quoted(shard_id) if shard_id else ""


def _arrived_at(moment: datetime | None) -> str:
    return f', "arrived_at": "{moment.isoformat(timespec="milliseconds")}"' if moment else ""
