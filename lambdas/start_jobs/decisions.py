"""What a message changes and whether a run must start: pure decisions, shared with whatever checks them.

Flows in: a message, the arguments of a run that ended, counters as read. Flows out: a `Plan` or a `Verdict`.

Why two counters, and not "start, ignore busy". A message is only a hint: it may come late, twice or never, and it may
come while a run is active that listed its input *before* the file arrived. Whoever ignores the refusal of a second run
at that moment forgets the file. So the trigger is level-triggered: each request has two counters, and their
difference, not the message, is the truth.

- `requested` grows by one with every hint, before anything else is tried.
- A run carries the value of `requested` at its start as its *generation*. It lists its input after it starts, so it
  covers every hint counted up to there.
- `succeeded` is the highest generation known to be done. `requested > succeeded` means work is outstanding, whoever
  remembers why; every end of a run and every sweep looks again. The refusal of a second run loses nothing.

What must hold: `succeeded <= requested` (a generation nobody asked for is never recorded); the follow-up job is asked
for *before* a success is recorded, so a crash in between repeats the question instead of losing it. A job has one run
at a time, so whoever asks for the follow-up after an ended run asks for those before it too: a question in the name of
an older run, by an event that comes late or twice, counts nothing. A sweep asks in the name of the newest run that
succeeded, in case that nobody heard of its end. Input that is gone while a run is alive settles nothing, since that run
may yet merge what nobody has asked for; its end looks again.

Failures: a failed run counts once. A new hint starts a request that has failed fewer than `max_failures` times in a
row, because new data, or a fault that has passed, may be what repairs it; from `max_failures` on the request is parked
and hints only count. The end of a failed or stopped run never restarts its own request: the next hint or the sweep
does, and the other requests of that job wait likewise if they have failed before.
A run that its breaker has stopped parks its request at once: the same input would stop the next run as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from lakehouse.errors import BreakerError
from lambdas.start_jobs.messages import Outcome, Request, RunEnded

if TYPE_CHECKING:
    from collections.abc import Mapping

WAKE_REQUEST: Final = "--wake_request"
WAKE_GENERATION: Final = "--wake_generation"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one message changes, carried out in the order of the fields; each step can be repeated.

    Attributes:
        forgive: Requests whose row of failures ends here (which also unparks them).
        ask: Requests to count, each with the start of the run that it has to follow, for which it is counted once
            (None: always).
        succeeded: A request and the generation now known to be done.
        failed: A request and the generation that failed; counted once per run.
        park: Whether that failure parks the request, however few there were before.
        wake: Requests to start if they are outstanding, in this order.
        retry: Whether a request that has failed may start now.
    """

    forgive: tuple[Request, ...] = ()
    ask: tuple[tuple[Request, float | None], ...] = ()
    succeeded: tuple[Request, int] | None = None
    failed: tuple[Request, int] | None = None
    park: bool = False
    wake: tuple[Request, ...] = ()
    retry: bool = True


def plan_ask(request: Request, *, by_operator: bool = False) -> Plan:
    """Count a request and try to start it; an operator's request also unparks it."""
    return Plan(forgive=(request,) if by_operator else (), ask=((request, None),), wake=(request,))


def plan_sweep(*, unrequested_input: bool) -> Plan:
    """Try everything outstanding, and ask for batches that wait although nobody has asked for them."""
    return Plan(ask=((Request.BATCH_TRANSFORM, None),) if unrequested_input else (), wake=tuple(Request))


def plan_end(ended: RunEnded, started: float, arguments: Mapping[str, str], error: str = "") -> Plan:
    """Account for the end of a run, then look again at every request of its job.

    The other requests of the job go first, so that a busy one can't starve them. A run that the trigger has not
    started carries no generation: its success ends the row of failures and leads to the follow-up, its failure
    concerns nobody but who started it.

    Args:
        ended: The event.
        started: When that run began, in seconds since the epoch.
        arguments: The arguments of that run.
        error: Its error message; empty when it has none.
    """
    request, generation = _identify(ended.job, arguments)
    others = tuple(other for other in Request if other.job == ended.job and other is not request)
    if arguments.get("--dry_run") == "true":
        # It has done nothing, whatever it says of its end: only the slot is free again.
        return Plan(wake=(*others, request), retry=False)
    if ended.outcome is not Outcome.SUCCEEDED:
        failed = ended.outcome is Outcome.FAILED and generation is not None
        return Plan(
            failed=(request, generation or 0) if failed else None,
            park=BreakerError.__name__ in error,
            wake=others,
            retry=False,
        )
    following = (request.follow_up,) if request.follow_up else ()
    return Plan(
        forgive=(request,) if generation is None else (),
        ask=tuple((follower, started) for follower in following),
        succeeded=(request, generation) if generation is not None else None,
        wake=(*others, request, *following),
    )


def _identify(job: str, arguments: Mapping[str, str]) -> tuple[Request, int | None]:
    """Return which request a run served and its generation, None for a run that the trigger has not started."""
    generation = arguments.get(WAKE_GENERATION, "")
    for request in Request:
        if request.job == job and arguments.get(WAKE_REQUEST) == request and generation.isdecimal():
            return request, int(generation)
    if job == Request.BATCH_TRANSFORM.job:
        return Request.BATCH_TRANSFORM, None
    recompute = arguments.get("--mode") == Request.KPI_RECOMPUTE.arguments["--mode"]
    return Request.KPI_RECOMPUTE if recompute else Request.KPI_TRANSFORMATION, None


@dataclass(frozen=True)
class Counts:
    """Counters of one request, as read.

    Attributes:
        requested: How often it was asked for.
        succeeded: Up to which of these it is known to be done.
        failures: Failed runs since the last success.
    """

    requested: int = 0
    succeeded: int = 0
    failures: int = 0


class Verdict(StrEnum):
    """Whether a request starts now."""

    IDLE = "idle"
    """Nothing is outstanding."""
    PARKED = "parked"
    """Too many failures in a row: an operator has to ask."""
    WAITING = "waiting"
    """It has failed before, and what woke it is no reason to try again."""
    LOOK = "look"
    """Look for input first, then decide again."""
    SETTLED = "settled"
    """Outstanding, but its input is gone: somebody has done it, and perhaps nobody has noticed."""
    START = "start"
    """Start a run whose generation is `requested` as read."""


def decide_start(
    request: Request, counts: Counts, *, max_failures: int, retry: bool = True, pending: bool | None = None
) -> Verdict:
    """Decide whether `request` starts a run.

    Args:
        request: The request.
        counts: Its counters, read before the look: what is pending afterwards covers at least these.
        max_failures: Failures in a row from which on the request is parked.
        retry: Whether a request that has failed may start now.
        pending: Whether input waits; None before the look.
    """
    verdict = Verdict.START
    if counts.requested <= counts.succeeded:
        verdict = Verdict.IDLE
    elif counts.failures >= max_failures:
        verdict = Verdict.PARKED
    elif counts.failures and not retry:
        verdict = Verdict.WAITING
    elif request.reads_processed_streams and pending is None:
        verdict = Verdict.LOOK
    elif request.reads_processed_streams and not pending:
        verdict = Verdict.SETTLED
    return verdict
