"""The small world of the trigger's model: what a state holds. A state is a value; each change makes another."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from lambdas.start_jobs.messages import Message, Request

BY_HAND: Final = -1


class Run(NamedTuple):
    """A run of a job: `STARTED`, `LISTED`, or how it ended. One started by hand has the generation `BY_HAND`."""

    request: Request
    generation: int
    state: str = "STARTED"
    read: frozenset[int] = frozenset()
    error: str = ""

    @property
    def is_alive(self) -> bool:
        return self.state in ("STARTED", "LISTED")


class Budget(NamedTuple):
    """How much trouble there still may be.

    A preemption is a step of a message, a run or another invocation while one is between two of its own steps; the
    arrival of a file costs nothing. Of runs that a breaker has stopped, somebody takes notice when all is at rest,
    and starts one by hand that goes through.
    """

    preemptions: int = 2
    duplicates: int = 0
    losses: int = 0
    crashes: int = 0
    failures: int = 0
    sweeps: int = 0
    breakers: int = 0


class Call(NamedTuple):
    """An invocation under way."""

    message: Message
    answers: tuple[Any, ...] = ()


class State(NamedTuple):
    """Everything that can differ. Files are numbers; messages have no order; of the
    invocations, the last is the one that goes on unless it is preempted."""

    to_come: int
    budget: Budget
    pending: frozenset[int] = frozenset()
    curated: frozenset[int] = frozenset()
    served: frozenset[int] = frozenset()
    queue: tuple[Message, ...] = ()
    runs: tuple[Run, ...] = ()
    items: tuple[tuple[Any, ...], ...] = ((0, 0, 0, -1.0, frozenset()),) * len(Request)
    calls: tuple[Call, ...] = ()

    def sent(self, *messages: Message) -> State:
        return self._replace(queue=tuple(sorted((*self.queue, *messages), key=hash)))

    def without_message(self, message: Message) -> State:
        queue = list(self.queue)
        queue.remove(message)
        return self._replace(queue=tuple(queue))

    def with_call(self, call: Call | None, *, instead_of: Call | None = None) -> State:
        calls = [one for one in self.calls if one is not instead_of]
        return self._replace(calls=(*calls, *([call] if call else [])))

    def with_run(self, number: int, run: Run) -> State:
        return self._replace(runs=(*self.runs[:number], run, *self.runs[number + 1 :]))

    def spent(self, **trouble: int) -> State:
        left = {name: getattr(self.budget, name) - count for name, count in trouble.items()}
        return self._replace(budget=self.budget._replace(**left))
