"""The trigger under every interleaving of a small world, and the designs that one would write first, which fail."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, cast

import pytest

from lambdas.start_jobs.messages import Ask, Message, Outcome, Request, RunEnded
from lambdas.start_jobs.trigger import Trigger
from tests.unit.trigger_model import Access, Design, LostFileError, explore
from tests.unit.trigger_world import Budget

if TYPE_CHECKING:
    from collections.abc import Iterator

BATCH, KPI = Request.BATCH_TRANSFORM, Request.KPI_TRANSFORMATION


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """A log line at every step of every interleaving would take most of the time."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def two_counters(access: Access, message: Message) -> None:
    """Handle a message as the Lambda does: with its own trigger."""
    data = cast("Any", access)
    Trigger(counters=data, runs=data, has_pending=access.has_pending, max_failures=3).handle(message)


def start_and_ignore_busy(access: Access, message: Message) -> None:
    match message:
        case Ask(request):
            access.start(request, 0)
        case RunEnded(BATCH.job, _, Outcome.SUCCEEDED):
            access.start(KPI, 0)


def look_then_start(access: Access, message: Message) -> None:
    """Start unless a run is alive; look for input left over when one ends."""
    match message:
        case Ask(request) if not access.is_alive(request.job, other_than=""):
            access.start(request, 0)
        case RunEnded(BATCH.job, _, Outcome.SUCCEEDED):
            if access.has_pending():
                access.start(BATCH, 0)
            if not access.is_alive(KPI.job, other_than=""):
                access.start(KPI, 0)


def dirty_flag(access: Access, message: Message) -> None:
    """Set a flag first, clear it once a run has started: set is `requested` beyond `succeeded`, by however much."""

    def set_and_start(request: Request) -> None:
        access.ask(request)
        start(request)

    def start(request: Request) -> None:
        if access.start(request, 0) is not None:
            access.succeed(request, access.read(request).requested)

    match message:
        case Ask(request):
            set_and_start(request)
        case RunEnded(job, _, outcome):
            for request in (BATCH, KPI):
                counts = access.read(request)
                if request.job == job and counts.requested > counts.succeeded:
                    start(request)
            if job == BATCH.job and outcome is Outcome.SUCCEEDED:
                set_and_start(KPI)


@pytest.mark.parametrize(
    ("files", "budget"),
    [
        (2, Budget()),
        (1, Budget(duplicates=1)),
        (1, Budget(preemptions=1, duplicates=1, crashes=1)),
        (2, Budget(preemptions=0, crashes=1)),
        (2, Budget(preemptions=1, losses=1, sweeps=3)),
        (2, Budget(preemptions=1, losses=2, sweeps=4)),
        (2, Budget(preemptions=1, duplicates=1, losses=2, sweeps=3)),
        (2, Budget(preemptions=1, failures=1, sweeps=3)),
        (1, Budget(losses=1, crashes=1, failures=1, sweeps=3)),
        (2, Budget(preemptions=1, breakers=1, sweeps=1)),
    ],
    ids=str,
)
def test_no_interleaving_leaves_a_file_behind(files: int, budget: Budget) -> None:
    assert explore(two_counters, files=files, budget=budget) > 1_000


@pytest.mark.parametrize("design", [start_and_ignore_busy, look_then_start, dirty_flag])
def test_the_designs_that_one_would_write_first_lose_a_file(design: Design) -> None:
    """Without a duplicate, a loss, a crash or a failure."""
    with pytest.raises(LostFileError):
        explore(design, files=2, budget=Budget())
