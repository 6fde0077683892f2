"""Errors come whole out of another process."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import pytest

from lakehouse.errors import BreakerError

TOLD = {"expected": "a lake", "found": "a puddle", "do": "Wait for rain."}


class CountedError(BreakerError):
    """Carries something, as an argument that has no name."""

    def __init__(self, counted: int, **told: str) -> None:
        """Keep what was counted."""
        super().__init__(**told)
        self.counted = counted


def fail() -> None:
    raise CountedError(7, **TOLD)


def test_an_error_of_another_process_keeps_its_kind_its_message_and_what_it_carries() -> None:
    with (
        ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process,
        pytest.raises(CountedError, match=r"expected a lake; found a puddle\. Wait for rain\.") as caught,
    ):
        process.submit(fail).result()
    error = caught.value
    assert (error.counted, error.expected, error.found, error.do) == (7, *TOLD.values())
