"""A model checker of the trigger: every state that a small world can reach within its budget, not a sample of them.

A state holds files, messages, runs, counters and the invocations under way, up to two at once as the event source
allows. Each step of an invocation is one access to shared data, before which anything else may go first. An invocation
is kept as its message and the answers it has had so far, and is played again up to there for its next step: so what is
checked is the trigger itself, not a copy of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar, cast

from lakehouse.errors import BreakerError
from lambdas.start_jobs.decisions import WAKE_GENERATION, WAKE_REQUEST, Counts
from lambdas.start_jobs.messages import Ask, Message, Outcome, Request, RunEnded, Sweep
from lambdas.start_jobs.runs import Latest
from lambdas.start_jobs.trigger import SlotNotFreeError
from tests.unit.fake_counters import FakeCounters, Item
from tests.unit.trigger_world import BY_HAND, Budget, Call, Run, State

MAX_INVOCATIONS: Final = 2
MAX_STATES: Final = 500_000

T = TypeVar("T")

BATCH: Final = Request.BATCH_TRANSFORM


class PausedError(BaseException):
    """The invocation waits before its next access; no handler of ours sees it."""


class Access:
    """The shared data as one invocation sees it: the known answers again, then one new one, then a pause."""

    def __init__(self, state: State, answers: tuple[Any, ...]) -> None:
        self.state, self.answers = state, answers
        self._known = iter(answers)
        self._used = False

    def _answer(self, access: Callable[[], T]) -> T:
        for known in self._known:
            return cast("T", known)
        if self._used:
            raise PausedError
        self._used = True
        answer = access()
        self.answers = (*self.answers, answer)
        return answer

    def has_pending(self) -> bool:
        return self._answer(lambda: bool(self.state.pending))

    # The runs, as `lambdas.start_jobs.runs` offers them

    def start(self, request: Request, generation: int) -> str | None:
        def start() -> str | None:
            if any(run.is_alive and run.request.job == request.job for run in self.state.runs):
                return None
            self.state = self.state._replace(runs=(*self.state.runs, Run(request, generation)))
            return str(len(self.state.runs) - 1)

        return self._answer(start)

    def read_run(self, _job: str, run_id: str) -> tuple[float, dict[str, str], str]:
        # Never changes, so it is no step of its own.
        run = self.state.runs[int(run_id)]
        wake = {WAKE_REQUEST: str(run.request), WAKE_GENERATION: str(run.generation)}
        return float(run_id), {} if run.generation == BY_HAND else wake, run.error

    def latest(self, job: str) -> Latest:
        def look() -> Latest:
            runs = [(number, run) for number, run in enumerate(self.state.runs) if run.request.job == job]
            if not runs:
                return Latest(is_alive=False, started=None, succeeded=False)
            newest, run = runs[-1]
            return Latest(any(run.is_alive for _, run in runs), float(newest), run.state == Outcome.SUCCEEDED)

        return self._answer(look)

    def is_alive(self, job: str, *, other_than: str) -> bool:
        return self._answer(
            lambda: any(
                run.is_alive and run.request.job == job and str(number) != other_than
                for number, run in enumerate(self.state.runs)
            )
        )

    # The counters, as `lambdas.start_jobs.counters` offers them

    def _count(self, access: Callable[[FakeCounters], T]) -> T:
        def count() -> T:
            counters = FakeCounters(items={r: Item(*i) for r, i in zip(Request, self.state.items, strict=True)})
            answer = access(counters)
            items = tuple(tuple(vars(item).values()) for item in counters.items.values())
            self.state = self.state._replace(items=items)
            return answer

        return self._answer(count)

    def read(self, request: Request) -> Counts:
        return self._count(lambda counters: counters.read(request))

    def ask(self, request: Request, *, after: float | None = None) -> None:
        self._count(lambda counters: counters.ask(request, after=after))

    def succeed(self, request: Request, generation: int) -> None:
        self._count(lambda counters: counters.succeed(request, generation))

    def fail(self, request: Request, generation: int, *, run_id: str, times: int = 1) -> None:
        self._count(lambda counters: counters.fail(request, generation, run_id=run_id, times=times))

    def forgive(self, request: Request) -> None:
        self._count(lambda counters: counters.forgive(request))


Design = Callable[[Access, Message], object]


def go_on(state: State, call: Call, design: Design) -> State:
    """Return the state after the next access of an invocation."""
    access = Access(state, call.answers)
    try:
        design(access, call.message)
    except PausedError:
        return access.state.with_call(Call(call.message, access.answers), instead_of=call)
    except SlotNotFreeError:
        return access.state.with_call(None, instead_of=call).sent(call.message)
    return access.state.with_call(None, instead_of=call)


def run_on(state: State, number: int) -> Iterator[State]:
    """Yield what may come of a run that is alive."""
    run = state.runs[number]
    if run.state == "STARTED":
        read = state.pending if run.request is BATCH else state.curated
        yield state.with_run(number, run._replace(state="LISTED", read=read))
        return

    def end(after: State, outcome: Outcome, error: str = "") -> State:
        ended = RunEnded(run.request.job, str(number), outcome)
        return after.with_run(number, run._replace(state=str(outcome), read=frozenset(), error=error)).sent(ended)

    merged = state._replace(served=state.served | run.read)
    archived = merged
    if run.request is BATCH:
        merged = state._replace(curated=state.curated | run.read)
        archived = merged._replace(pending=merged.pending - run.read)
    yield end(archived, Outcome.SUCCEEDED)
    if state.budget.failures:
        # A crash before the merge, between merge and archive, and after everything.
        yield from (end(after.spent(failures=1), Outcome.FAILED) for after in {state, merged, archived})
    if state.budget.breakers and run.request is BATCH and run.generation != BY_HAND:
        yield end(state.spent(breakers=1), Outcome.FAILED, BreakerError.__name__)


def moves(state: State, design: Design) -> Iterator[State]:
    """Yield every state that may be next; none when the world has come to rest."""
    if state.to_come:
        arrived = state._replace(to_come=state.to_come - 1, pending=state.pending | {state.to_come})
        yield arrived.sent(Ask(BATCH))
    if not state.calls:
        yield from moves_of_the_world(state)
        return
    *others, current = state.calls
    yield go_on(state, current, design)
    if state.budget.crashes:
        yield state.with_call(None, instead_of=current).sent(current.message).spent(crashes=1)
    if state.budget.preemptions:
        preempted = state.spent(preemptions=1)
        yield from (go_on(preempted, call, design) for call in others)
        yield from moves_of_the_world(preempted)


def moves_of_the_world(state: State) -> Iterator[State]:
    """Yield what messages and runs may do next."""
    for message in dict.fromkeys(state.queue):
        if len(state.calls) < MAX_INVOCATIONS:
            delivered = state.with_call(Call(message))
            yield delivered.without_message(message)
            if state.budget.duplicates:
                yield delivered.spent(duplicates=1)
        if state.budget.losses:
            yield state.without_message(message).spent(losses=1)
    for number, run in enumerate(state.runs):
        if run.is_alive:
            yield from run_on(state, number)


class LostFileError(Exception):
    """A world came to rest with a file unserved; carries how it came to that."""


def explore(design: Design, *, files: int, budget: Budget) -> int:
    """Visit every reachable state and return their number.

    Raises:
        LostFileError: A file is left unprocessed where nothing is left that could move.
    """
    first = State(to_come=files, budget=budget)
    seen, open_states = {first}, [first]
    while open_states:
        state = open_states.pop()
        following = list(moves(state, design))
        if not following:
            if state.served == frozenset(range(1, files + 1)) and not state.pending:
                continue
            if state.budget.sweeps:
                following = [state.sent(Sweep()).spent(sweeps=1)]
            elif any(run.error for run in state.runs):
                following = [state._replace(runs=(*state.runs, Run(BATCH, BY_HAND)))]
            else:
                raise LostFileError(state)
        fresh = [one for one in dict.fromkeys(following) if one not in seen]
        seen.update(fresh)
        open_states += fresh
        assert len(seen) < MAX_STATES, "the world is larger than it was meant to be"
    return len(seen)
