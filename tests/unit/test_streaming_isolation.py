"""Writing a batch apart: whichever records fail, the others are written once each; an outage blames none of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming_jobs.isolation import TooManyUnprocessableError, write_apart


class PoisonError(Exception):
    pass


class CloudError(Exception):
    pass


class Cloud:
    """Writes ranges of keys; `poison` fails, and so does everything in the calls that `outage` names."""

    def __init__(self, poison: set[int], outage: range = range(0)) -> None:
        self.poison, self.outage = poison, outage
        self.calls = 0

    def write(self, keys: Sequence[int]) -> list[int]:
        self._work()
        if self.poison.intersection(keys):
            raise PoisonError(f"one of {keys}")
        return list(keys)

    def probe(self) -> None:
        self._work()

    def _work(self) -> None:
        self.calls += 1
        if self.calls in self.outage:
            raise CloudError("503")


FAILURES = (PoisonError, CloudError)


@given(st.integers(0, 80).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, max(0, n - 1)), max_size=n))))
def test_exactly_the_poison_is_set_apart_and_the_others_are_written_once(case: tuple[int, set[int]]) -> None:
    number, poison = case
    cloud = Cloud(poison)
    apart = write_apart(range(number), cloud.write, failures=FAILURES, probe=cloud.probe, limit=number)
    assert set(apart.unprocessable) == poison
    assert all(isinstance(error, PoisonError) for error in apart.unprocessable.values())
    written = sorted(key for part in apart.parts for key in part)
    assert written == sorted(set(range(number)) - poison)


def test_one_record_of_a_hundred_thousand_takes_some_forty_tries() -> None:
    cloud = Cloud({70_000})
    apart = write_apart(range(100_000), cloud.write, failures=FAILURES, probe=cloud.probe, limit=1)
    assert list(apart.unprocessable) == [70_000]
    assert cloud.calls <= 2 * math.ceil(math.log2(100_000)) + 4


@given(st.integers(1, 40), st.integers(0, 39), st.integers(1, 60), st.integers(1, 5))
def test_an_outage_of_any_length_at_any_moment_blames_no_good_record(
    number: int, poison: int, begins: int, length: int
) -> None:
    cloud = Cloud({poison}, range(begins, begins + length))
    try:
        apart = write_apart(range(number), cloud.write, failures=FAILURES, probe=cloud.probe, limit=number)
    except CloudError:
        return  # the run ends as it always did, and the next one finds the batch as it was
    assert set(apart.unprocessable) == {poison} & set(range(number))
    assert sorted(key for part in apart.parts for key in part) == sorted(set(range(number)) - {poison})


def test_records_that_fail_only_together_are_all_written() -> None:
    def write(keys: Sequence[int]) -> list[int]:
        if len(keys) > 3:
            raise PoisonError("out of memory")
        return list(keys)

    apart = write_apart(range(10), write, failures=FAILURES, probe=lambda: None, limit=1)
    assert apart.unprocessable == {}
    assert sorted(key for part in apart.parts for key in part) == list(range(10))


def test_more_than_the_limit_end_the_run() -> None:
    cloud = Cloud(set(range(8)))
    with pytest.raises(TooManyUnprocessableError, match=r"at most 3 records .* the last one with PoisonError"):
        write_apart(range(8), cloud.write, failures=FAILURES, probe=cloud.probe, limit=3)


def test_an_error_that_no_record_can_cause_is_passed_on() -> None:
    def write(keys: Sequence[int]) -> list[int]:
        raise KeyError(keys[0])

    with pytest.raises(KeyError):
        write_apart(range(8), write, failures=FAILURES, probe=lambda: None, limit=8)
