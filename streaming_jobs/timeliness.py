"""Late and future events: what counts as one, and whether it is taken. Pure, no session, no I/O.

Both are possible times by the contract: an `impossible_time` is neither. A stream tells late from old by the arrival
of the record, so a replayed record is as late as its replay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.events import FUTURE_TOLERANCE, LATE_AFTER

if TYPE_CHECKING:
    from lakehouse.settings import IngestSettings

LATE: Final = "late_event"
FUTURE: Final = "future_event"
REJECT: Final = "reject"


@dataclass(frozen=True, kw_only=True)
class Timeliness:
    """The policy. An event exactly at a limit is on time.

    Attributes:
        late_after_seconds: How long after its listen an event may arrive before it is late.
        future_tolerance_seconds: How long before its listen it may arrive before it is a future event.
        rejects_late: Whether late events are rejected, not only counted.
        rejects_future: The same of future events.
    """

    late_after_seconds: int = int(LATE_AFTER.total_seconds())
    future_tolerance_seconds: int = int(FUTURE_TOLERANCE.total_seconds())
    rejects_late: bool = False
    rejects_future: bool = False

    @classmethod
    def of(cls, settings: IngestSettings) -> Timeliness:
        """Return the policy that the settings ask for."""
        return cls(
            late_after_seconds=settings.late_after_seconds,
            future_tolerance_seconds=settings.future_tolerance_seconds,
            rejects_late=settings.late_events == REJECT,
            rejects_future=settings.future_events == REJECT,
        )

    @property
    def rejected(self) -> list[str]:
        """The codes that are reasons to reject an event, not only to count it."""
        chosen = {LATE: self.rejects_late, FUTURE: self.rejects_future}
        return [code for code, is_reason in chosen.items() if is_reason]

    def judge(self, listen_time: pa.ChunkedArray, arrived_at: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return for each listen `late_event`, `future_event` or, where it is on time, null."""
        is_late = pc.less(listen_time, pc.subtract(arrived_at, _seconds(self.late_after_seconds)))
        is_future = pc.greater(listen_time, pc.add(arrived_at, _seconds(self.future_tolerance_seconds)))
        return pc.case_when(pc.make_struct(is_late, is_future), LATE, FUTURE)


TAKE_ALL: Final = Timeliness()


def _seconds(number: int) -> pa.Scalar:
    return pa.scalar(number * 1_000_000, pa.duration("us"))
