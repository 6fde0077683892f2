"""Entry of the Lambda `start_jobs`: SQS batches of hints, or one request by hand.

By hand: `{"request": "batch_transform" | "kpi_transformation" | "kpi_recompute" | "sweep"}`; the answer says per
request what happened, `{"batch_transform": {"outcome": "started", "run_id": "jr_…"}}`.
"""

from __future__ import annotations

import functools
import json
import logging
import os
from typing import Any

import boto3

from lakehouse import batches, log
from lakehouse.settings import TriggerSettings
from lambdas.start_jobs.counters import Counters
from lambdas.start_jobs.messages import Message, UnknownMessageError, read_message
from lambdas.start_jobs.runs import Runs
from lambdas.start_jobs.trigger import Trigger

logger = logging.getLogger(__name__)


def lambda_handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Handle one invocation.

    Args:
        event: An SQS event, or a request by hand.

    Returns:
        `batchItemFailures` for SQS; for a request by hand, what happened per request.

    Raises:
        UnknownMessageError: A request by hand is malformed.
    """
    trigger = build_trigger()
    if "Records" in event:
        return handle_records(trigger, event["Records"])
    woken = trigger.handle(read_message(event), by_operator=True)
    return {str(request): result.to_json() for request, result in woken.items()}


@functools.cache
def build_trigger() -> Trigger:
    """Build the trigger from the environment, once per process."""
    log.configure()
    settings = TriggerSettings.parse([], os.environ)
    s3 = boto3.client("s3")
    return Trigger(
        counters=Counters(boto3.client("dynamodb"), settings.control_table),
        runs=Runs(boto3.client("glue")),
        has_pending=lambda: batches.has_pending(s3, settings.raw_bucket),
        max_failures=settings.max_failures,
    )


def handle_records(trigger: Trigger, records: list[dict[str, Any]]) -> dict[str, list[dict[str, str]]]:
    """Handle the messages of one SQS batch; equal messages are handled once.

    Returns:
        The messages that have to come again: those that can't be read, and those whose handling failed.
    """
    failed: list[str] = []
    message_ids: dict[Message, list[str]] = {}
    for record in records:
        try:
            message_ids.setdefault(read_message(_decode(record["body"])), []).append(record["messageId"])
        except UnknownMessageError as error:
            logger.error("message not understood", extra={"found": error.found, "message_id": record["messageId"]})
            failed.append(record["messageId"])
    for message, ids in message_ids.items():
        kind = type(message).__name__
        logger.info("message", extra={"kind": kind, "messages": len(ids)})
        try:
            trigger.handle(message)
        except Exception:
            # Whatever went wrong concerns this message only; the queue delivers it again.
            logger.exception("message failed", extra={"kind": kind, "messages": len(ids)})
            failed.extend(ids)
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


def _decode(body: str) -> object:
    try:
        return json.loads(body)
    except ValueError:
        raise UnknownMessageError("a body that is no JSON") from None
