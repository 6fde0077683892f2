"""The clock on the laptop: the deployed schedules fire, and what they send is what the trigger reads."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

from lambdas.start_jobs.messages import Ask, Request, Sweep, read_message
from local_cloud.cloud import Cloud

RATE, SECONDS = "rate(1 minute)", 120
"""The shortest that Scheduler knows; the emulator looks every ten seconds."""


def test_the_deployed_schedules_fire(cloud: Cloud) -> None:
    """Copies of them, at a short rate and into a queue of our own, so that no other test meets their messages."""
    scheduler, sqs = cloud.client("scheduler"), cloud.client("sqs")
    name = f"clock-{uuid.uuid4().hex[:8]}"
    queue = sqs.create_queue(QueueName=name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    deployed = [_read(scheduler, one) for one in scheduler.list_schedules()["Schedules"]]
    assert [schedule["State"] for schedule in deployed] == ["ENABLED", "ENABLED"]
    for number, schedule in enumerate(deployed):
        scheduler.create_schedule(
            Name=f"{name}-{number}",
            ScheduleExpression=RATE,
            FlexibleTimeWindow=schedule["FlexibleTimeWindow"],
            Target={**schedule["Target"], "Arn": arn},
        )
    try:
        sent = _receive(sqs, queue, messages=len(deployed))
    finally:
        for number in range(len(deployed)):
            scheduler.delete_schedule(Name=f"{name}-{number}")
    assert {read_message(json.loads(body)) for body in sent} == {Sweep(), Ask(Request.KPI_RECOMPUTE)}


def _read(scheduler: Any, listed: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = scheduler.get_schedule(Name=listed["Name"], GroupName=listed["GroupName"])
    return found


def _receive(sqs: Any, queue: str, *, messages: int) -> list[str]:
    bodies: list[str] = []
    deadline = time.monotonic() + SECONDS
    while len(bodies) < messages:
        assert time.monotonic() < deadline, f"waited {SECONDS} s for {messages} messages, got {len(bodies)}"
        received = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=5, MaxNumberOfMessages=10).get("Messages", [])
        bodies += [message["Body"] for message in received]
    return bodies
