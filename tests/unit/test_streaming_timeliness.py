"""Late and future events: at each limit, on the short way and on the strict one, whatever the policy rejects."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pyarrow as pa
import pytest

from lakehouse.bad_records import REPLAYABLE
from lakehouse.events import INGEST_REASONS, POLICY_REASONS
from lakehouse.settings import IngestSettings
from streaming_jobs.parsing import PARSED, parse_batches
from streaming_jobs.timeliness import TAKE_ALL, Timeliness
from tests.payloads import ARRIVED, good

LATE, FUTURE = timedelta(hours=2), timedelta(seconds=30)
A_MOMENT: Final = timedelta(microseconds=1)
FIRST: Final = datetime(2000, 1, 1, tzinfo=UTC)
TIMES: Final[dict[str, tuple[datetime, str | None]]] = {
    "on time": (ARRIVED, None),
    "as late as may be": (ARRIVED - LATE, None),
    "late": (ARRIVED - LATE - A_MOMENT, "late_event"),
    "years late": (FIRST, "late_event"),
    "before 2000": (FIRST - A_MOMENT, "impossible_time"),
    "as early as may be": (ARRIVED + FUTURE, None),
    "future": (ARRIVED + FUTURE + A_MOMENT, "future_event"),
    "as far in the future as is possible": (ARRIVED + timedelta(days=1), "future_event"),
    "impossible": (ARRIVED + timedelta(days=1) + A_MOMENT, "impossible_time"),
}
"""Listen time, and what it is rejected for where the policy rejects both."""
CODES: Final = [code for _, code in TIMES.values()]


def parse(payloads: list[bytes], policy: Timeliness) -> list[dict[str, Any]]:
    """Parse a record of one event each."""
    place = {"stream": "listens", "shard_id": "0", "arrived_at": ARRIVED}
    told = [{"data": data, "sequence_number": str(number), **place} for number, data in enumerate(payloads)]
    fields = {name: PARSED.field(name) for name in told[0]}
    batches = pa.Table.from_pylist(told, pa.schema(list(fields.values()))).to_batches()
    rows = pa.Table.from_batches(parse_batches(batches, policy), PARSED).to_pylist()
    return sorted(rows, key=lambda row: int(row["sequence_number"]))


@pytest.mark.parametrize("rejected", [set(), {"late_event"}, {"future_event"}, {"late_event", "future_event"}])
@pytest.mark.parametrize("unknown", [{}, {"unknown": 1}], ids=["the short way", "the strict way"])
def test_each_time_is_judged_and_rejected_only_if_the_policy_says_so(
    rejected: set[str], unknown: dict[str, int]
) -> None:
    policy = Timeliness(
        late_after_seconds=int(LATE.total_seconds()),
        future_tolerance_seconds=int(FUTURE.total_seconds()),
        rejects_late="late_event" in rejected,
        rejects_future="future_event" in rejected,
    )
    payloads = [good(listen_time=f"{time:%Y-%m-%dT%H:%M:%S.%fZ}", **unknown) for time, _ in TIMES.values()]
    rows = parse(payloads, policy)
    assert [row["timeliness"] for row in rows] == [code if code in POLICY_REASONS else None for code in CODES]
    expected = [code if code in rejected | {"impossible_time"} else None for code in CODES]
    assert [row["reject_reason"] for row in rows] == expected
    meanings = INGEST_REASONS | POLICY_REASONS
    assert [row["reject_message"] for row in rows] == [meanings[code] if code else None for code in expected]
    kept = [payload if code else None for payload, code in zip(payloads, expected, strict=True)]
    assert [row["data"] for row in rows] == kept, "the payload of a reject is kept in full"


def test_the_settings_name_the_policy_and_take_all_by_default() -> None:
    assert Timeliness.of(IngestSettings.with_prefix("t")) == TAKE_ALL
    strict = IngestSettings.with_prefix(
        "t", late_after_seconds=60, late_events="reject", future_tolerance_seconds=0, future_events="reject"
    )
    assert Timeliness.of(strict) == Timeliness(
        late_after_seconds=60, future_tolerance_seconds=0, rejects_late=True, rejects_future=True
    )
    assert Timeliness.of(strict).rejected == list(POLICY_REASONS)
    assert POLICY_REASONS.keys() <= REPLAYABLE
