"""CSV listens by contract: what a header must name, and the event that a row stands for. Pure.

Flows in: the cells of a header and of rows, bytes that are no UTF-8 as lone surrogates. Flows out: JSON events, which
meet the rules of every event. What must hold: whoever reads such a file, to send its rows or to ingest it, makes the
same event of the same row.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final

from lakehouse.events import FIELDS, REQUIRED_FIELDS

INTEGER: Final = re.compile(r"[+-]?0{0,64}[0-9]{1,19}", re.ASCII)
_JSON: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def name_columns(header: Sequence[str]) -> list[str]:
    """Return the names of the columns, in any order and without the blanks around them; `column_N` where one is blank.

    Columns that the contract does not know become unknown fields of the event, which are kept.
    """
    return [name.strip() or f"column_{number}" for number, name in enumerate(header, start=1)]


def find_header_fault(names: Sequence[str]) -> str | None:
    """Return why rows under these names are no listens; None if they may be."""
    if missing := [name for name in REQUIRED_FIELDS if name not in names]:
        return f"without {', '.join(missing)}"
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        return f"with {', '.join(repeated)} more than once"
    return None


def build_event(names: Sequence[str], cells: Sequence[str]) -> dict[str, Any]:
    """Return the event of a row: blank cells left out, known integers as integers where they are some, the rest text.

    Args:
        names: Names of the columns.
        cells: The row's cells; those beyond the shorter of the two are left out.
    """
    event: dict[str, Any] = {name: cell for name, cell in zip(names, cells, strict=False) if cell.strip()}
    for name, kind in FIELDS.items():
        text = event.get(name)
        if kind == "BIGINT" and text is not None and INTEGER.fullmatch(text) and -(2**63) <= int(text) < 2**63:
            event[name] = int(text)
    return event


def encode_event(event: dict[str, Any]) -> bytes:
    """Return the event as JSON; bytes that were no UTF-8 come out as they came in."""
    return _JSON.encode(event).encode("utf-8", "surrogateescape")
