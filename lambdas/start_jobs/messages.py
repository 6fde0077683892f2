"""Messages: what can come in, and what can be asked for.

Flows in: a decoded message body. Flows out: a `Message`, a hashable value; equal messages need handling only once.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from aws_lambda_powertools.utilities.data_classes import EventBridgeEvent

from lakehouse import batches, layout
from lakehouse.errors import ListenlakeError


class UnknownMessageError(ListenlakeError):
    """A message is none of those that the trigger reads. Its text never quotes the message."""

    def __init__(self, found: str) -> None:
        """Say what was found, in words of our own."""
        super().__init__(
            expected="an S3 'Object Created' event, a 'Glue Job State Change' event or {\"request\": NAME}",
            found=found,
            do=f"NAME is one of {', '.join(Request)}, sweep; see docs/operations.md for the dead-letter queue.",
        )


class Request(StrEnum):
    """What can be asked of the trigger; each has counters of its own."""

    BATCH_TRANSFORM = "batch_transform"
    KPI_TRANSFORMATION = "kpi_transformation"
    KPI_RECOMPUTE = "kpi_recompute"

    @property
    def job(self) -> str:
        """The Glue job that serves this request."""
        return layout.TRANSFORM_JOB if self is Request.BATCH_TRANSFORM else layout.KPI_JOB

    @property
    def arguments(self) -> dict[str, str]:
        """Arguments by which the job serves this request and no other."""
        modes = {Request.KPI_TRANSFORMATION: "incremental", Request.KPI_RECOMPUTE: "recompute"}
        return {"--mode": modes[self]} if self in modes else {}

    @property
    def follow_up(self) -> Request | None:
        """What has to run after this request has succeeded."""
        return Request.KPI_TRANSFORMATION if self is Request.BATCH_TRANSFORM else None

    @property
    def reads_processed_streams(self) -> bool:
        """Whether a look under `processed-streams/` tells if there is anything to do."""
        return self is Request.BATCH_TRANSFORM


class Outcome(StrEnum):
    """How a run ended."""

    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    STOPPED = "STOPPED"


OUTCOMES: Final = {
    "SUCCEEDED": Outcome.SUCCEEDED,
    "FAILED": Outcome.FAILED,
    "TIMEOUT": Outcome.FAILED,
    "ERROR": Outcome.FAILED,
    "STOPPED": Outcome.STOPPED,
}
"""Terminal states of a Glue run. Any other state needs no reaction."""


@dataclass(frozen=True)
class Ask:
    """Somebody or something wants `request` served: a new batch, a schedule, an operator."""

    request: Request


@dataclass(frozen=True)
class RunEnded:
    """A run of one of our jobs reached a terminal state."""

    job: str
    run_id: str
    outcome: Outcome


@dataclass(frozen=True)
class Sweep:
    """Look at everything again: some event may have been lost."""


@dataclass(frozen=True)
class Ignored:
    """A well-formed event that asks for nothing: another job, a state on the way, a file that is no batch."""


Message = Ask | RunEnded | Sweep | Ignored


def read_message(body: object) -> Message:
    """Return what a decoded message body means.

    Raises:
        UnknownMessageError: It is none of the messages that we know, or lacks one of their fields.
    """
    if not isinstance(body, dict):
        raise UnknownMessageError("JSON that is no object")
    if "request" in body:
        return _read_request(body["request"])
    if missing := {"source", "detail-type", "detail"} - body.keys():
        raise UnknownMessageError(f"an object without request and without {', '.join(sorted(missing))}")
    event = EventBridgeEvent(body)
    if not isinstance(event.detail, dict):
        raise UnknownMessageError("an event whose detail is no object")
    match event.source, event.detail_type:
        case "aws.s3", "Object Created":
            return _read_created(event.detail)
        case "aws.glue", "Glue Job State Change":
            return _read_state_change(event.detail)
    raise UnknownMessageError("an event of another source or detail-type")


def _read_request(name: object) -> Message:
    if name == "sweep":
        return Sweep()
    if isinstance(name, str) and name in set(Request):
        return Ask(Request(name))
    raise UnknownMessageError("a request of another name")


def _read_created(detail: dict[str, Any]) -> Message:
    # EventBridge sends keys as they are; Powertools' class of this detail would decode them as S3's own notifications
    # have to be, and so turn a plus sign into a space.
    created = detail.get("object")
    key = created.get("key") if isinstance(created, dict) else None
    if not isinstance(key, str):
        raise UnknownMessageError("an S3 event without an object key")
    # A rule's wildcards also match files of attempts, which mean nothing before their manifest is there.
    return Ask(Request.BATCH_TRANSFORM) if batches.is_batch_key(key) else Ignored()


def _read_state_change(detail: dict[str, Any]) -> Message:
    job, run_id, state = (detail.get(name) for name in ("jobName", "jobRunId", "state"))
    if not (isinstance(job, str) and isinstance(run_id, str) and isinstance(state, str)):
        raise UnknownMessageError("a Glue event without jobName, jobRunId or state")
    if job not in {request.job for request in Request} or state not in OUTCOMES:
        return Ignored()
    return RunEnded(job, run_id, OUTCOMES[state])
