"""The short way for events that are no JSON object: many are told by their bytes, at once and without reading them.

What this says of an event is what `streaming_jobs.judging` says of it by itself; of others it says nothing. Pure
Python and Arrow, no Spark.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from lakehouse import events
from streaming_jobs.plain_events import BEYOND_ASCII, FLAT_OBJECT

_BLANKS: Final = r"[ \t\n\r]*"
_UTF_8_PATTERN: Final = rf"\A(?:[\x00-\x7f]|{BEYOND_ASCII})*\z"
_BRACED_PATTERN: Final = rf"(?s)\A{_BLANKS}\{{.*\}}{_BLANKS}\z"
_AND_MORE_PATTERN: Final = rf"\A{FLAT_OBJECT}{_BLANKS}[^ \t\n\r]"
"""An object, and then something else."""


def reasons_of_unreadable(data: pa.BinaryArray) -> pa.StringArray:
    """Return the reason against each event that is seen to be no object; null of all others."""
    is_braced = pc.match_substring_regex(data, _BRACED_PATTERN)
    is_more = pc.match_substring_regex(pc.if_else(is_braced, data, b""), _AND_MORE_PATTERN)
    found = pc.make_struct(
        pc.greater(pc.binary_length(data), events.MAX_EVENT_BYTES),
        pc.invert(pc.match_substring_regex(data, _UTF_8_PATTERN)),
        pc.or_(pc.invert(is_braced), is_more),
    )
    return pc.case_when(found, "oversize", "invalid_utf8", "invalid_json")
