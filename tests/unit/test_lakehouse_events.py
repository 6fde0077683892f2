"""The id of an event without one, and the events of one record. The vectors of the id come from
`sha1sum` and RFC 9562 §5.5 by hand."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.events import EVENT_ID_NAMESPACE, derive_event_id, split_events

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


@pytest.mark.parametrize(
    ("data", "events"),
    [
        (b'{"a":1}', [(1, b'{"a":1}')]),
        (b'{"a":1}\n', [(1, b'{"a":1}\n')]),
        (b"", [(1, b"")]),
        (b'{\n "a": 1\n}', [(1, b'{\n "a": 1\n}')]),
        (b'[{"a":1},\n{"a":2}]', [(1, b'[{"a":1},\n{"a":2}]')]),
        (b'{"a":1}\n\n{"a":2}', [(1, b'{"a":1}\n\n{"a":2}')]),
        (b'{"a":1}\n{"a":2}', [(1, b'{"a":1}'), (2, b'{"a":2}')]),
        (b'{"a":1}\n{"a":2}\n', [(1, b'{"a":1}'), (2, b'{"a":2}')]),
        (b'{"a":1}\r\n{"a":2}\r\n', [(1, b'{"a":1}'), (2, b'{"a":2}')]),
        (b'\n{"a":1}\n{"a":2}\n\r\n{"a":3}', [(2, b'{"a":1}'), (3, b'{"a":2}'), (5, b'{"a":3}')]),
        (
            b'{"a":1}\n{"a":2\nxyz\xff\n \n{"a":3}',
            [(1, b'{"a":1}'), (2, b'{"a":2'), (3, b"xyz\xff"), (4, b" "), (5, b'{"a":3}')],
        ),
        (b'{"a":1}\r\r\n{"a":2}\n{}', [(1, b'{"a":1}\r'), (2, b'{"a":2}'), (3, b"{}")]),
    ],
)
def test_events_of_a_record(data: bytes, events: list[tuple[int, bytes]]) -> None:
    assert split_events(data) == events


DOCUMENTS = st.recursive(
    st.none() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


@given(DOCUMENTS, st.sampled_from([None, 0, 1, "\r\n", "\n"]))
def test_one_json_document_is_one_event_however_it_is_laid_out(document: object, indent: int | str | None) -> None:
    data = json.dumps(document, ensure_ascii=False, indent=indent).encode()
    assert split_events(data) == [(1, data)]


@given(st.lists(st.dictionaries(st.text(), st.text()), min_size=2), st.sampled_from([b"\n", b"\r\n"]))
def test_json_lines_come_back_as_they_were(documents: list[dict[str, str]], end: bytes) -> None:
    lines = [json.dumps(document).encode() for document in documents]
    assert split_events(end.join(lines)) == list(enumerate(lines, start=1))
