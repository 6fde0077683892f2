"""The id of an event without one. The vectors come from `sha1sum` and RFC 9562 §5.5 by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from lakehouse.events import EVENT_ID_NAMESPACE, derive_event_id

EASTERN = timezone(timedelta(hours=-4))


def test_the_namespace_is_fixed() -> None:
    assert str(EVENT_ID_NAMESPACE) == "be5bf190-8ef5-56eb-b046-573850adf4ec"


@pytest.mark.parametrize(
    ("user_id", "track_id", "listen_time", "event_id"),
    [
        (42, "0abcDEF", datetime(2024, 6, 25, 17, 43, 13, tzinfo=UTC), "25649fac-cb3d-51a8-9c64-7b105c21d190"),
        (42, "0abcDEF", datetime(2024, 6, 25, 13, 43, 13, tzinfo=EASTERN), "25649fac-cb3d-51a8-9c64-7b105c21d190"),
        (7, "träck-ü", datetime(2024, 6, 25, 22, 30, 0, 123456, tzinfo=UTC), "de949fc9-8c9f-51e2-99af-ccb4d84fafca"),
        (-1, "", datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), "b579d290-936e-570e-b614-946cd330ef3a"),
    ],
)
def test_known_vectors(user_id: int, track_id: str, listen_time: datetime, event_id: str) -> None:
    assert derive_event_id(user_id, track_id, listen_time) == event_id
