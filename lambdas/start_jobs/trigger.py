"""The trigger's logic: carries out what `decisions` decides, on counters and runs.

Flows in: a message. Flows out: what happened to each request that the message woke. Every step may be repeated, so a
message whose handling fails midway is simply handled again.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from aws_lambda_powertools import Logger

from lakehouse.errors import ListenlakeError
from lakehouse.settings import TriggerSettings
from lambdas.start_jobs import decisions
from lambdas.start_jobs.decisions import Plan, Verdict
from lambdas.start_jobs.messages import Ask, Ignored, Message, Request, RunEnded, Sweep

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambdas.start_jobs.counters import Counters
    from lambdas.start_jobs.runs import Runs

logger = Logger(service=TriggerSettings.program, child=True)

STARTED: Final = "started"
BUSY: Final = "busy"


class Counted(StrEnum):
    """What is counted beside the messages themselves; the names are those of the metrics."""

    RUN_STARTED = "runs_started"
    RUN_REFUSED = "runs_refused"
    """Glue was busy with another run of the job; the end of that run looks again."""
    RUN_FAILED = "runs_failed"
    REQUEST_PARKED = "parked"
    """Counted when a request is parked, and in every sweep for as long as it is."""


def _count_nothing(_what: Counted) -> None:
    pass


class SlotNotFreeError(ListenlakeError):
    """Glue refuses a run of a job of which none is alive; the message has to come again."""

    def __init__(self, job: str) -> None:
        """Name the job."""
        super().__init__(
            expected=f"{job} to be startable after the end of its run",
            found="Glue still counting that run as active",
            do="The queue delivers the event again; nothing is lost.",
        )


@dataclass(frozen=True)
class Woken:
    """What happened to one request: `started`, `busy`, `idle`, `waiting` or `parked`, and the run if one started."""

    outcome: str
    run_id: str = ""

    def to_json(self) -> dict[str, str]:
        """Return the answer of a manual invocation for this request."""
        return {"outcome": self.outcome} | ({"run_id": self.run_id} if self.run_id else {})


@dataclass(frozen=True, kw_only=True)
class Trigger:
    """Handles messages.

    Attributes:
        counters: The counters of the requests.
        runs: The runs of the jobs.
        has_pending: Tells whether a batch waits under `processed-streams/`.
        max_failures: Failed runs in a row from which on a request is parked.
        count: Told of everything that is worth a metric; by default nobody is.
    """

    counters: Counters
    runs: Runs
    has_pending: Callable[[], bool]
    max_failures: int
    count: Callable[[Counted], None] = _count_nothing

    def handle(self, message: Message, *, by_operator: bool = False) -> dict[Request, Woken]:
        """Do what `message` asks for.

        Args:
            message: What has come in.
            by_operator: Whether a person asked, which unparks the request.

        Returns:
            What happened to each request that was woken.

        Raises:
            SlotNotFreeError: There is work that Glue can't start yet, and no run whose end would look again.
        """
        match message:
            case Ask(request):
                woken = self._wake(self._count(decisions.plan_ask(request, by_operator=by_operator)))
                if not by_operator:
                    self._insist(woken)
                return woken
            case Sweep():
                self._ask_after_unheard_ends()
                plan = decisions.plan_sweep(unrequested_input=self._has_unrequested_input())
                woken = self._wake(self._count(plan))
                for request, result in woken.items():
                    if result.outcome == Verdict.PARKED:
                        self._report_parked(request)
                return woken
            case RunEnded(job, run_id):
                plan = decisions.plan_end(message, *self.runs.read_run(job, run_id))
                woken = self._wake(self._count(plan, run_id=run_id))
                self._insist(woken, ended_run=run_id)
                return woken
            case Ignored():
                return {}

    def _has_unrequested_input(self) -> bool:
        counts = self.counters.read(Request.BATCH_TRANSFORM)
        return counts.requested <= counts.succeeded and self.has_pending()

    def _ask_after_unheard_ends(self) -> None:
        """Ask for the follow-up of the newest run that succeeded, which counts nothing if its end was heard."""
        for request in Request:
            if request.follow_up and (latest := self.runs.latest(request.job)).succeeded:
                self.counters.ask(request.follow_up, after=latest.started)

    def _count(self, plan: Plan, *, run_id: str = "") -> Plan:
        """Move the counters as planned."""
        for request in plan.forgive:
            self.counters.forgive(request)
        for request, started in plan.ask:
            self.counters.ask(request, after=started)
        if plan.succeeded:
            self.counters.succeed(*plan.succeeded)
        if plan.failed:
            request, generation = plan.failed
            times = self.max_failures if plan.park else 1
            self.counters.fail(request, generation, run_id=run_id, times=times)
            failures = self.counters.read(request).failures
            self.count(Counted.RUN_FAILED)
            logger.warning("run failed", extra={"request": str(request), "run": run_id, "failures": failures})
            if failures >= self.max_failures:
                self._report_parked(request)
        return plan

    def _wake(self, plan: Plan) -> dict[Request, Woken]:
        """Start what is outstanding; Glue refuses a second run of a job."""
        woken: dict[Request, Woken] = {}
        waiting = deque(plan.wake)
        while waiting:
            request = waiting.popleft()
            verdict, generation = self._decide(request, retry=plan.retry)
            result = Woken(verdict)
            if verdict is Verdict.SETTLED:
                is_settled = self._settle(request, generation)
                result = Woken(Verdict.IDLE if is_settled else BUSY)
                if is_settled and request.follow_up and request.follow_up not in waiting:
                    waiting.append(request.follow_up)
            if verdict is Verdict.START:
                run_id = self.runs.start(request, generation)
                result = Woken(STARTED, run_id) if run_id else Woken(BUSY)
                self.count(Counted.RUN_STARTED if run_id else Counted.RUN_REFUSED)
            logger.info("request woken", extra={"request": str(request), "generation": generation, **result.to_json()})
            woken[request] = result
        return woken

    def _decide(self, request: Request, *, retry: bool) -> tuple[Verdict, int]:
        counts = self.counters.read(request)
        verdict = decisions.decide_start(request, counts, max_failures=self.max_failures, retry=retry)
        if verdict is Verdict.LOOK:
            verdict = decisions.decide_start(
                request, counts, max_failures=self.max_failures, retry=retry, pending=self.has_pending()
            )
        return verdict, counts.requested

    def _settle(self, request: Request, generation: int) -> bool:
        """Record what somebody has done, and return whether it could be.

        The end of the run that did it may have been lost, and with it the question for its follow-up, which is asked
        here in the name of the newest run: if that one's end was heard, it counts nothing.
        """
        latest = self.runs.latest(request.job)
        if latest.is_alive:
            return False
        if request.follow_up:
            self.counters.ask(request.follow_up, after=latest.started)
        self.counters.succeed(request, generation)
        return True

    def _insist(self, woken: dict[Request, Woken], *, ended_run: str = "") -> None:
        """Have the message delivered again if Glue refused a run although none is alive.

        A refusal because a run is alive is fine: the end of that run looks again. One without such a run means that
        Glue has not freed the slot of the last run yet, whose end event may be this one, or may have passed already.
        """
        for job in sorted({request.job for request, result in woken.items() if result.outcome == BUSY}):
            if not self.runs.is_alive(job, other_than=ended_run):
                raise SlotNotFreeError(job)

    def _report_parked(self, request: Request) -> None:
        self.count(Counted.REQUEST_PARKED)
        logger.error("request parked: ask for it by hand once the cause is repaired", extra={"request": str(request)})
