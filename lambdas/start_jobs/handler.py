"""Entry of the Lambda `start_jobs`: SQS batches of hints, or one request by hand.

By hand: `{"request": "batch_transform" | "kpi_transformation" | "kpi_recompute" | "sweep"}`; the answer says per
request what happened, `{"batch_transform": {"outcome": "started", "run_id": "jr_…"}}`.

Metrics, with the one dimension `service`: `messages`, `messages_failed`, and those of `trigger.Counted`.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any

import boto3
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response

from lakehouse import batches, layout
from lakehouse.settings import TriggerSettings
from lambdas.start_jobs.counters import Counters
from lambdas.start_jobs.messages import Message, UnknownMessageError, read_message
from lambdas.start_jobs.runs import Runs
from lambdas.start_jobs.trigger import Counted, Trigger

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
    from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
    from aws_lambda_powertools.utilities.typing import LambdaContext

logger = Logger(service=TriggerSettings.program, utc=True)
metrics = Metrics(namespace=layout.METRICS_NAMESPACE, service=TriggerSettings.program)


@metrics.log_metrics
@logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any] | PartialItemFailureResponse:
    """Handle one invocation.

    Args:
        event: An SQS event, or a request by hand.
        _context: The invocation, whose id each log line carries.

    Returns:
        `batchItemFailures` for SQS; for a request by hand, what happened per request.

    Raises:
        UnknownMessageError: A request by hand is malformed.
    """
    metrics.add_metric("messages", MetricUnit.Count, len(event.get("Records", [event])))
    trigger = build_trigger()
    if "Records" in event:
        response = handle_records(trigger, event)
        metrics.add_metric("messages_failed", MetricUnit.Count, len(response["batchItemFailures"]))
        return response
    woken = trigger.handle(read_message(event), by_operator=True)
    return {str(request): result.to_json() for request, result in woken.items()}


@functools.cache
def build_trigger() -> Trigger:
    """Build the trigger from the environment, once per process."""
    settings = TriggerSettings.parse([], os.environ)
    s3 = boto3.client("s3")
    return Trigger(
        counters=Counters(boto3.client("dynamodb"), settings.control_table),
        runs=Runs(boto3.client("glue")),
        has_pending=lambda: batches.has_pending(s3, settings.raw_bucket),
        max_failures=settings.max_failures,
        count=count,
    )


def count(what: Counted) -> None:
    """Add one to the metric of this name."""
    metrics.add_metric(what, MetricUnit.Count, 1)


def handle_records(trigger: Trigger, event: dict[str, Any]) -> PartialItemFailureResponse:
    """Handle the messages of one SQS batch; equal messages are handled once.

    Returns:
        The messages that have to come again: those that can't be read, and those whose handling failed.
    """
    # Whatever went wrong concerns its own message; even if all failed, they go back to the queue one by one.
    processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)
    handled = Handled(trigger)
    return process_partial_response(event, handled.handle_record, processor)


class Handled:
    """The messages of one batch, each handled at its first occurrence; the others share what came of it."""

    def __init__(self, trigger: Trigger) -> None:
        """Begin a batch."""
        self._trigger = trigger
        self._errors: dict[Message, Exception | None] = {}

    def handle_record(self, record: SQSRecord) -> None:
        """Handle one record.

        Raises:
            Exception: Whatever keeps its message from being done; the queue delivers it again.
        """
        message = self._read(record)
        if message not in self._errors:
            self._errors[message] = self._attempt(message, record.message_id)
        if error := self._errors[message]:
            raise error

    def _read(self, record: SQSRecord) -> Message:
        try:
            return read_message(_decode(record))
        except UnknownMessageError as error:
            logger.error("message not understood", found=error.found, message_id=record.message_id)
            raise

    def _attempt(self, message: Message, message_id: str) -> Exception | None:
        with logger.append_context_keys(kind=type(message).__name__, message_id=message_id):
            logger.info("message")
            try:
                self._trigger.handle(message)
            except Exception as error:
                logger.exception("message failed")
                return error
        return None


def _decode(record: SQSRecord) -> object:
    try:
        body: object = record.json_body
    except ValueError:
        raise UnknownMessageError("a body that is no JSON") from None
    return body
