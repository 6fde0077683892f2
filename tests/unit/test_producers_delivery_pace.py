"""The rate that a lane holds, the time it runs for, and how it stops."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from tests.unit.scripted_kinesis import Delivering, FakeKinesis, Time, make_events


def test_the_rate_is_held_and_not_exceeded(tmp_path: Path) -> None:
    time = Time()
    marks: list[tuple[float, int]] = []
    kinesis = FakeKinesis(lambda _call, entries: marks.append((time.at - 1_000.0, len(entries))) or set())  # type: ignore[func-returns-value]
    sent = Delivering(kinesis, tmp_path, time=time).send(make_events(3_000), rate=1_234.0)
    assert sent.seconds == pytest.approx(3_000 / 1_234, rel=0.03)
    for (at, _), total in zip(marks, itertools.accumulate(size for _, size in marks), strict=True):
        assert total <= at * 1_234 + 1


def test_falling_behind_is_measured_and_not_made_up_by_waiting(tmp_path: Path) -> None:
    time = Time()

    def slow(_call: int, _entries: list[dict[str, Any]]) -> set[int]:
        time.at += 1.0
        return set()

    kinesis = FakeKinesis(slow)
    sent = Delivering(kinesis, tmp_path, time=time).send(make_events(5_000), rate=1_000.0)
    assert sent.acknowledged == 5_000
    # Delays are counted from the moment an event was due, not from the moment it was sent.
    assert sent.measures.delay.maximum == pytest.approx(sent.seconds - 4.5, abs=0.6)
    assert max(len(call) for call in kinesis.calls) == 500


@pytest.mark.parametrize(("rate", "count"), [(1_234.0, 1_235), (3.0, 4), (None, 5_000)])
def test_the_duration_ends_delivery_with_all_that_was_due(tmp_path: Path, rate: float | None, count: int) -> None:
    time = Time()

    def a_tenth(_call: int, _entries: list[dict[str, Any]]) -> set[int]:
        time.at += 0.1 if rate is None else 0.0
        return set()

    sent = Delivering(FakeKinesis(a_tenth), tmp_path, time=time, duration_s=1.0).send(make_events(9_000), rate=rate)
    assert sent.acknowledged == len(sent.ledger) == pytest.approx(count, abs=500 if rate is None else 0)
    assert sent.seconds == pytest.approx(1.0, abs=0.2)


def test_stop_finishes_what_was_taken_up_and_takes_up_nothing_more(tmp_path: Path) -> None:
    def stop_in_second(call: int, _entries: list[dict[str, Any]]) -> set[int]:
        if call == 2:
            run.stop.set()
            return {0}
        return set()

    kinesis = FakeKinesis(stop_in_second)
    run = Delivering(kinesis, tmp_path)
    sent = run.send(make_events(5_000))
    assert [len(call) for call in kinesis.calls] == [500, 500, 1]
    assert sent.acknowledged == len(sent.ledger) == 1_000
