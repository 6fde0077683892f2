"""Iterators drawn at the same time: everything once and in order, a few items ahead, and an end whatever happens."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from streaming_jobs.kinesis_source.side_by_side import AHEAD, THREADS, side_by_side


def test_every_item_comes_once_and_those_of_one_source_in_its_order() -> None:
    sources = {f"source {number}": iter(range(number)) for number in range(THREADS + 5)}
    found: dict[str, list[int]] = {}
    for name, item in side_by_side(sources):
        found.setdefault(name, []).append(item)
    assert found == {f"source {number}": list(range(number)) for number in range(1, THREADS + 5)}


def test_sources_are_drawn_no_further_than_a_few_items_ahead() -> None:
    drawn = 0

    def source() -> Iterator[int]:
        nonlocal drawn
        for number in range(50):
            drawn += 1
            yield number

    for taken, _ in enumerate(side_by_side({"one": source()}), start=1):
        assert drawn <= taken + AHEAD + 1
    assert drawn == 50


def test_while_one_source_waits_the_others_go_on() -> None:
    is_taken = threading.Event()

    def waiting() -> Iterator[str]:
        assert is_taken.wait(10)
        yield "late"

    found = []
    for _, item in side_by_side({"a": waiting(), "b": iter(["early"])}):
        found.append(item)
        is_taken.set()
    assert found == ["early", "late"]


def test_an_error_of_one_ends_all() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise ValueError("trimmed")

    def endless() -> Iterator[int]:
        while True:
            yield 0

    with pytest.raises(ValueError, match="trimmed"):
        for _ in side_by_side({"a": endless(), "b": failing()}):
            pass


def test_no_thread_is_left_of_a_caller_that_stops() -> None:
    before = threading.active_count()
    items = side_by_side({"a": iter(range(1_000)), "b": iter(range(1_000))})
    next(items)
    items.close()  # type: ignore[attr-defined] # a generator
    assert threading.active_count() == before
