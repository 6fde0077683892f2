"""Each measurement in a process of its own, since a JVM keeps the configuration that it began with."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import NoReturn

Measure = Callable[[], dict[str, float]]


def measured(measure: Measure) -> dict[str, float]:
    """Return the figures of one measurement; a SIGTERM ends it, with all that it has started."""
    signal.signal(signal.SIGTERM, _end_all)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=_end_in_order) as process:
        return process.submit(measure).result()


def _end_all(number: int, _frame: object) -> NoReturn:
    for process in multiprocessing.active_children():
        process.terminate()
    raise SystemExit(128 + number)


def _end_in_order() -> None:
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
