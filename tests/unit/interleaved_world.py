"""A small world that runs on a seed, for the trigger to live in.

Files arrive, hints are duplicated or lost, runs list their input some time after they start and end some time after
that, and Glue frees a slot late. Up to three invocations are under way at once; each pauses before every access to
its data, where the world goes on without it and where it may die.
"""

from __future__ import annotations

import json
import random
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import ClientError

from lakehouse import layout
from lambdas.start_jobs.counters import Counters
from lambdas.start_jobs.handler import handle_records
from lambdas.start_jobs.messages import Ask, Outcome, Request, RunEnded, read_message
from lambdas.start_jobs.runs import Runs
from lambdas.start_jobs.trigger import Trigger
from tests.unit.fake_counters import FakeCounters

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_INVOCATIONS = 3
ALIVE = "RUNNING"


class CrashedError(BaseException):
    """The Lambda's process is gone; no handler of ours sees it."""


@dataclass
class Run:
    """One run of a job, and how far it is."""

    id: str
    job: str
    arguments: dict[str, str]
    state: str = ALIVE
    read: frozenset[int] | None = None
    merged: bool = False
    archived: bool = False


@dataclass
class World:
    """Files, messages and runs."""

    rng: random.Random
    losses: bool
    naive: bool = False
    files: int = 0
    pending: set[int] = field(default_factory=set)
    curated: set[int] = field(default_factory=set)
    served: set[int] = field(default_factory=set)
    queue: list[dict[str, Any]] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    slots_held: set[str] = field(default_factory=set)
    invocations: list[Invocation] = field(default_factory=list)
    current: Invocation | None = None
    calm: bool = False
    trace: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.trigger = Trigger(
            counters=cast("Counters", FakeCounters(self.preempt)),
            runs=Runs(cast("Any", FakeGlue(self))),
            has_pending=self.look,
            max_failures=10_000,
        )

    def chance(self, probability: float) -> bool:
        return not self.calm and self.rng.random() < probability

    # What may happen outside of the trigger

    def arrive(self) -> None:
        self.files += 1
        self.pending.add(self.files)
        key = f"{layout.PROCESSED}generation=g/batch={self.files}/{layout.MANIFEST}"
        self.send({"source": "aws.s3", "detail-type": "Object Created", "detail": {"object": {"key": key}}})

    def send(self, body: dict[str, Any]) -> None:
        if self.losses and self.chance(0.15):
            self.trace.append("lost")
            return
        self.queue.extend([body] * (2 if self.chance(0.2) else 1))

    def list_input(self, run: Run) -> None:
        run.read = frozenset(self.pending if run.job == layout.TRANSFORM_JOB else self.curated)

    def merge(self, run: Run) -> None:
        (self.curated if run.job == layout.TRANSFORM_JOB else self.served).update(run.read or ())
        run.merged = True

    def archive(self, run: Run) -> None:
        if run.job == layout.TRANSFORM_JOB:
            self.pending -= run.read or set()
        run.archived = True

    def end(self, run: Run, state: str) -> None:
        run.state = state
        if self.chance(0.3):
            self.slots_held.add(run.job)
        detail = {"jobName": run.job, "jobRunId": run.id, "state": state}
        self.send({"source": "aws.glue", "detail-type": "Glue Job State Change", "detail": detail})

    def deliver(self, count: int) -> None:
        self.rng.shuffle(self.queue)
        bodies, self.queue = self.queue[:count], self.queue[count:]
        self.invocations.append(Invocation(self, bodies))

    def go_on(self, invocation: Invocation) -> None:
        self.current = invocation
        invocation.go_on()
        self.current = None
        if invocation.done:
            self.invocations.remove(invocation)
            self.queue.extend(invocation.returned)

    # Moving on

    def moves(self) -> list[Callable[[], None]]:
        moves: list[Callable[[], None]] = [partial(self.slots_held.discard, job) for job in sorted(self.slots_held)]
        if not self.calm:
            moves.append(self.arrive)
            if self.losses:
                moves.append(lambda: self.queue.append({"request": "sweep"}))
        if self.queue and len(self.invocations) < MAX_INVOCATIONS:
            moves += [lambda: self.deliver(self.rng.randint(1, 3))] * 3
        moves += [partial(self.go_on, invocation) for invocation in self.invocations] * 4
        for run in self.runs:
            if run.state == ALIVE:
                moves += [self.next_step(run)] * 2
                if self.losses and not self.calm:
                    moves.append(partial(self.end, run, self.rng.choice(["FAILED", "STOPPED"])))
        return moves

    def next_step(self, run: Run) -> Callable[[], None]:
        if run.read is None:
            return partial(self.list_input, run)
        if not run.merged:
            return partial(self.merge, run)
        return partial(self.end, run, "SUCCEEDED") if run.archived else partial(self.archive, run)

    def move(self) -> bool:
        moves = self.moves()
        if moves:
            self.rng.choice(moves)()
        return bool(moves)

    def preempt(self) -> None:
        """Pause the invocation under way, and perhaps end its life."""
        if self.current:
            self.current.pause()
        if self.chance(0.01):
            raise CrashedError

    def look(self) -> bool:
        self.preempt()
        found = bool(self.pending)
        self.preempt()
        return found

    def drain(self) -> None:
        """Let everything under way come to its end, without further trouble."""
        self.calm = True
        for _ in range(10_000):
            if not self.move():
                return
        raise AssertionError("the world never comes to rest")


class Invocation:
    """One invocation of the Lambda, in a thread of its own that runs only while the world waits for it."""

    def __init__(self, world: World, bodies: list[dict[str, Any]]) -> None:
        self.world, self.bodies = world, bodies
        self.returned: list[dict[str, Any]] = []
        self.done = False
        self.error: BaseException | None = None
        self.may_run, self.has_paused = threading.Semaphore(0), threading.Semaphore(0)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def go_on(self) -> None:
        """Let it run until it pauses or ends."""
        self.may_run.release()
        assert self.has_paused.acquire(timeout=30)
        if self.done:
            self.thread.join()
        if self.error:
            raise self.error

    def pause(self) -> None:
        self.has_paused.release()
        self.may_run.acquire()

    def run(self) -> None:
        self.may_run.acquire()
        try:
            self.returned = self.handle()
        except CrashedError:
            # A message may die with its invocation: when it was its last delivery.
            forgotten = self.world.losses and self.world.chance(0.3)
            self.returned = [] if forgotten else self.bodies
            self.world.trace.append(f"crash, forgotten: {forgotten}")
        except BaseException as error:
            self.error = error
        finally:
            self.done = True
            self.has_paused.release()

    def handle(self) -> list[dict[str, Any]]:
        if self.world.naive:
            handle_naively(self.world, self.bodies)
            return []
        records = [{"messageId": str(i), "body": json.dumps(body)} for i, body in enumerate(self.bodies)]
        failed = handle_records(self.world.trigger, {"Records": records})["batchItemFailures"]
        return [self.bodies[int(str(entry["itemIdentifier"]))] for entry in failed]


class FakeGlue:
    """Runs of the world; refuses a second run, also while the slot of the last one is not free."""

    def __init__(self, world: World) -> None:
        self.world = world

    def start_job_run(self, *, JobName: str, Arguments: dict[str, str]) -> dict[str, str]:  # noqa: N803
        self.world.preempt()
        alive = [run for run in self.world.runs if run.job == JobName and run.state == ALIVE]
        if alive or JobName in self.world.slots_held:
            raise ClientError({"Error": {"Code": "ConcurrentRunsExceededException", "Message": ""}}, "StartJobRun")
        run = Run(f"jr_{len(self.world.runs)}", JobName, Arguments)
        self.world.runs.append(run)
        self.world.trace.append(f"start {run.job} {Arguments}")
        self.world.preempt()
        return {"JobRunId": run.id}

    def get_job_run(self, *, JobName: str, RunId: str) -> dict[str, Any]:  # noqa: N803, ARG002
        self.world.preempt()
        (found,) = (run for run in self.world.runs if run.id == RunId)
        return {"JobRun": {"Arguments": found.arguments, "StartedOn": self.started(found)}}

    def get_job_runs(self, *, JobName: str, MaxResults: int) -> dict[str, Any]:  # noqa: N803
        self.world.preempt()
        runs = [run for run in self.world.runs if run.job == JobName]
        found = [{"Id": run.id, "JobRunState": run.state, "StartedOn": self.started(run)} for run in runs]
        return {"JobRuns": found[::-1][:MaxResults]}

    def started(self, run: Run) -> datetime:
        return datetime.fromtimestamp(self.world.runs.index(run), UTC)


def handle_naively(world: World, bodies: list[dict[str, Any]]) -> None:
    """The trigger that one would write first: start the job, ignore that it is busy."""
    for body in bodies:
        match read_message(body):
            case Ask(request):
                world.trigger.runs.start(request, 0)
            case RunEnded(layout.TRANSFORM_JOB, _, Outcome.SUCCEEDED):
                world.trigger.runs.start(Request.KPI_TRANSFORMATION, 0)
