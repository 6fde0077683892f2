"""Who wakes the trigger: committed batches, finished jobs and the clock. A hint may be lost or doubled, never wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from aws_cdk import Duration
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_scheduler_targets as scheduler_targets
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.environments import RECOMPUTE_MINUTES, SWEEP_MINUTES
from lakehouse import layout

TERMINAL_STATES: Final = ("SUCCEEDED", "FAILED", "TIMEOUT", "STOPPED", "ERROR")
OTHER_PREFIXES: Final = (
    layout.USERS_KEY.rpartition("/")[0] + "/",
    layout.SONGS_KEY.rpartition("/")[0] + "/",
    layout.DROPS,
    layout.BAD_RECORDS,
    layout.REPLAYS,
    layout.ARCHIVES,
    layout.INGEST_CHECKPOINT,
)


class Hints(Construct):
    """Rules and schedules, all of which send to one queue."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        queue: sqs.IQueue,
        dead_letters: sqs.IQueue,
        raw_bucket: str,
        jobs: Sequence[str],
    ) -> None:
        super().__init__(scope, construct_id)
        self._queue = queue
        self._dead_letters = dead_letters
        self._rule(
            "BatchCommitted", _object_created(raw_bucket, {"wildcard": f"{layout.PROCESSED}*/{layout.MANIFEST}"})
        )
        self._rule("FilePutByHand", _file_put_by_hand(raw_bucket))
        self._rule(
            "JobEnded",
            events.EventPattern(
                source=["aws.glue"],
                detail_type=["Glue Job State Change"],
                detail={"jobName": list(jobs), "state": list(TERMINAL_STATES)},
            ),
        )
        self._schedule("Sweep", Duration.minutes(SWEEP_MINUTES), {"request": "sweep"})
        self._schedule("KpiRecompute", Duration.minutes(RECOMPUTE_MINUTES), {"request": "kpi_recompute"})

    def _rule(self, construct_id: str, pattern: events.EventPattern) -> None:
        target = targets.SqsQueue(self._queue, dead_letter_queue=self._dead_letters)
        events.Rule(self, construct_id, event_pattern=pattern, targets=[target])

    def _schedule(self, construct_id: str, every: Duration, message: Mapping[str, str]) -> None:
        scheduler.Schedule(
            self,
            construct_id,
            schedule=scheduler.ScheduleExpression.rate(every),
            time_window=scheduler.TimeWindow.off(),
            target=scheduler_targets.SqsSendMessage(
                self._queue,
                dead_letter_queue=self._dead_letters,
                input=scheduler.ScheduleTargetInput.from_object(dict(message)),
            ),
        )


def _object_created(bucket: str, key: Mapping[str, Any]) -> events.EventPattern:
    return events.EventPattern(
        source=["aws.s3"],
        detail_type=["Object Created"],
        detail={"bucket": {"name": [bucket]}, "object": {"key": [dict(key)]}},
    )


def _file_put_by_hand(bucket: str) -> events.EventPattern:
    # A file directly under `processed-streams/`. A micro-batch's own files lie deeper and are announced by their
    # manifest. Conditions on one key are alternatives, so "under this prefix and not deeper" is written as "nowhere
    # else"; an object in a place that nobody planned is a needless hint, no more.
    elsewhere = [f"{layout.PROCESSED}*/*", *(f"{prefix}*" for prefix in OTHER_PREFIXES)]
    return _object_created(bucket, {"anything-but": {"wildcard": elsewhere}})
