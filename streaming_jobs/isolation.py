"""Sets apart the records that make a micro-batch fail, so that the others go on.

A batch that fails as a whole is written in parts: a part that fails is halved, down to the record that fails alone.
Two kinds of trouble look alike from here, a record that can't be processed and a cloud that can't be reached. What
tells them apart is a probe: the same work with a record that is known to be good. Where that fails too, the records
are not to blame, and the run ends with the probe's error. Pure: what "write" and "probe" do is handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from lakehouse.errors import ListenlakeError

P = TypeVar("P")


class TooManyUnprocessableError(ListenlakeError):
    """So many records fail alone that the job must be at fault, not they."""


@dataclass(frozen=True)
class Apart(Generic[P]):
    """A batch, written in parts.

    Attributes:
        parts: What `write` returned; together they hold each record once, save for the unprocessable ones.
        unprocessable: The error of each record that fails alone, by its key.
    """

    parts: list[P]
    unprocessable: dict[int, Exception]


def write_apart(
    keys: Sequence[int],
    write: Callable[[Sequence[int]], P],
    *,
    failures: tuple[type[Exception], ...],
    probe: Callable[[], None],
    limit: int,
) -> Apart[P]:
    """Write the records of a batch that failed as a whole.

    For n records of which k fail, about 2 k log2(n / k) parts are tried. A record is unprocessable when it has failed
    alone, the probe has passed, and it has failed alone again.

    Args:
        keys: One key per record, in an order in which ranges of them can be written.
        write: Writes the records of neighbouring keys and returns what became of them.
        failures: What `write` raises where a record may be the cause; anything else ends the run.
        probe: Does the same work with a good record, and raises when the cloud is at fault.
        limit: The most records that may be unprocessable.

    Raises:
        TooManyUnprocessableError: More than `limit` records fail alone.
    """
    probe()
    parts: list[P] = []
    unprocessable: dict[int, Exception] = {}
    suspects: set[int] = set()
    waiting = _halves(keys) if keys else []
    while waiting:
        some = waiting.pop()
        try:
            parts.append(write(some))
        except failures as error:
            if len(some) > 1:
                waiting += _halves(some)
            elif some[0] not in suspects:
                probe()
                suspects.add(some[0])
                waiting.append(some)
            else:
                unprocessable[some[0]] = error
                if len(unprocessable) > limit:
                    raise _too_many(limit, error) from error
    return Apart(parts, unprocessable)


def _halves(keys: Sequence[int]) -> list[Sequence[int]]:
    middle = len(keys) // 2
    return [keys[middle:], keys[:middle]] if middle else [keys]


def _too_many(limit: int, error: Exception) -> TooManyUnprocessableError:
    return TooManyUnprocessableError(
        expected=f"at most {limit} records of a micro-batch that fail alone",
        found=f"more than that, the last one with {type(error).__name__}",
        do="The job is at fault, not the records: correct it; or raise --max_unprocessable to set them aside.",
    )
