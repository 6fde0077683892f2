"""Several iterators drawn at the same time, each by a thread, and a few items ahead of whoever takes them.

Reading a shard waits for its pace and for the network; what is done with the records needs a core. So the next answers
are fetched while the last ones are judged, and there is never more in memory than the few that wait.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from queue import Full, Queue
from typing import Final, TypeVar

T = TypeVar("T")

THREADS: Final = 16
AHEAD: Final = 4
"""Items that may wait; each thread holds one more."""
_LOOK_SECONDS: Final = 0.1
"""How often a thread that waits for room looks whether anybody still wants its items."""


def side_by_side(sources: Mapping[str, Iterator[T]]) -> Iterator[tuple[str, T]]:
    """Yield the items of all iterators, each with the name of its own; those of one come in its order.

    An error of one ends all, and so does a caller that stops.
    """
    ready: Queue[tuple[str, T] | BaseException | None] = Queue(AHEAD)
    unwanted = threading.Event()

    def hand(item: tuple[str, T] | BaseException | None) -> None:
        while not unwanted.is_set():
            try:
                ready.put(item, timeout=_LOOK_SECONDS)
            except Full:
                continue
            return

    def draw(name: str, source: Iterator[T]) -> None:
        try:
            for item in source:
                hand((name, item))
                if unwanted.is_set():
                    return
        except BaseException as error:
            # Raised again where the items are taken.
            hand(error)
        else:
            hand(None)

    with ThreadPoolExecutor(min(THREADS, len(sources))) as pool:
        for name, source in sources.items():
            pool.submit(draw, name, source)
        try:
            left = len(sources)
            while left:
                item = ready.get()
                if isinstance(item, BaseException):
                    raise item
                if item is None:
                    left -= 1
                else:
                    yield item
        finally:
            unwanted.set()
