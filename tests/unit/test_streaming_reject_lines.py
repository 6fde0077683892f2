"""Lines of a rejects file: the bytes of the contract, and of `BadRecord.to_json`, whatever the values are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.bad_records import BadRecord, Position, fingerprint_of
from lakehouse.events import INGEST_REASONS
from streaming_jobs.parsing import PARSED
from streaming_jobs.reject_lines import to_json_lines

BATCH: Final = "generation=g/batch=1/"
TEXTS: Final = st.text(st.characters(codec="utf-8"), max_size=20)


def lines(*rejects: dict[str, Any]) -> bytes:
    return to_json_lines(pa.Table.from_pylist(list(rejects), PARSED), BATCH)


def test_the_bytes_of_the_contract() -> None:
    stream = {
        "reject_reason": "missing_field",
        "reject_message": "a required field is absent or null: user_id",
        "data": '{"track_id":"ü\\n"}'.encode(),
        "event_id": None,
        "stream": "listens",
        "shard_id": "shardId-000000000000",
        "sequence_number": "4965",
        "line": 3,
        "arrived_at": datetime(2024, 6, 25, 18, 0, 0, 250_999, tzinfo=UTC),
    }
    other = stream | {"data": b"\xff", "event_id": "e", "shard_id": None, "line": 1, "arrived_at": None}
    assert lines(stream, other).decode().splitlines() == [
        r'{"reason": "missing_field", "message": "a required field is absent or null: user_id", '
        r'"fingerprint": "7d4f1d1733f0", "payload": "{\"track_id\":\"\u00fc\\n\"}", "stream": "listens", '
        r'"shard_id": "shardId-000000000000", "sequence_number": "4965", "line": 3, '
        r'"arrived_at": "2024-06-25T18:00:00.250+00:00", "source_batch": "generation=g/batch=1/"}',
        r'{"reason": "missing_field", "message": "a required field is absent or null: user_id", '
        r'"fingerprint": "7d4f1d1733f0", "payload_base64": "/w==", "event_id": "e", "stream": "listens", '
        r'"sequence_number": "4965", "line": 1, "source_batch": "generation=g/batch=1/"}',
    ]
    assert lines(stream, other).endswith(b"}\n")


REJECTS: Final = st.fixed_dictionaries(
    {
        "reject_reason": st.sampled_from(list(INGEST_REASONS)),
        "reject_message": TEXTS | st.just("a|b"),
        "data": st.binary(max_size=40) | TEXTS.map(str.encode),
        "event_id": st.none() | TEXTS,
        "stream": TEXTS,
        "shard_id": st.none() | TEXTS,
        "sequence_number": TEXTS,
        "line": st.integers(1, 2**31 - 1),
        "arrived_at": st.none() | st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - naive bounds
    }
)


@given(rejects=st.lists(REJECTS, min_size=1, max_size=30))
@settings(deadline=None)
def test_many_at_once_are_written_as_one_by_one(rejects: list[dict[str, Any]]) -> None:
    assert lines(*rejects) == b"".join(
        BadRecord(
            reason=one["reject_reason"],
            message=one["reject_message"],
            data=one["data"],
            position=Position(one["stream"], one["shard_id"] or "", one["sequence_number"], one["line"]),
            arrived_at=one["arrived_at"],
            source_batch=BATCH,
            fingerprint=fingerprint_of(one["reject_reason"], one["reject_message"]),
            event_id=one["event_id"],
        ).to_json()
        for one in rejects
    )


def test_no_rejects_are_no_lines() -> None:
    assert lines() == b""
