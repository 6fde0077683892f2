"""Counters of the requests, in the control table.

One item per request, pk=`counter`, sk=the request's name:

| attribute | what |
| --- | --- |
| `requested`, `succeeded`, `failures` | see `lambdas.start_jobs.decisions` |
| `requested_for` | start of the newest run after which it was asked for: for no older one it is asked again |
| `failed_runs` | ids of the failed runs counted since the last success (a string set) |

Every change is one conditional write, so messages may come twice, late and out of order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lambdas.start_jobs.decisions import Counts

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from lambdas.start_jobs.messages import Request


@dataclass(frozen=True)
class Counters:
    """Reads and moves the counters."""

    client: DynamoDBClient
    table: str

    def read(self, request: Request) -> Counts:
        """Return the counters of `request`, strongly consistent; all zero before its first use."""
        item: dict[str, Any] = self.client.get_item(
            TableName=self.table, Key=self._key(request), ConsistentRead=True
        ).get("Item", {})
        return Counts(*(int(item.get(name, {"N": "0"})["N"]) for name in ("requested", "succeeded", "failures")))

    def ask(self, request: Request, *, after: float | None = None) -> None:
        """Add 1 to `requested`.

        Args:
            request: What is asked for.
            after: Start of the ended run that it has to follow, in seconds since the epoch. Who asks after an ended run
                has asked after all that began before it, so for those nothing is counted any more. None always counts.
        """
        if after is None:
            self._update(request, "ADD requested :one", {":one": {"N": "1"}})
            return
        self._update(
            request,
            "ADD requested :one SET requested_for = :start",
            {":one": {"N": "1"}, ":start": {"N": f"{after:.6f}"}},
            only_if="attribute_not_exists(requested_for) OR requested_for < :start",
        )

    def succeed(self, request: Request, generation: int) -> None:
        """Raise `succeeded` to `generation` and end the row of failures; never lowers it, never passes `requested`."""
        self._update(
            request,
            "SET succeeded = :generation, failures = :zero REMOVE failed_runs",
            {":generation": {"N": str(generation)}, ":zero": {"N": "0"}},
            only_if="requested >= :generation AND (attribute_not_exists(succeeded) OR succeeded < :generation)",
        )

    def fail(self, request: Request, generation: int, *, run_id: str, times: int = 1) -> None:
        """Count the failure of one run, once, as `times` failures, and only while its generation is not done."""
        self._update(
            request,
            "ADD failures :times, failed_runs :runs",
            {
                ":times": {"N": str(times)},
                ":runs": {"SS": [run_id]},
                ":run": {"S": run_id},
                ":generation": {"N": str(generation)},
            },
            only_if=(
                "NOT contains(failed_runs, :run) AND (attribute_not_exists(succeeded) OR succeeded < :generation)"
            ),
        )

    def forgive(self, request: Request) -> None:
        """Set `failures` to zero; the runs stay known, so a late duplicate of their events counts nothing."""
        self._update(request, "SET failures = :zero", {":zero": {"N": "0"}})

    def _key(self, request: Request) -> dict[str, Any]:
        return {"pk": {"S": "counter"}, "sk": {"S": str(request)}}

    def _update(self, request: Request, expression: str, values: dict[str, Any], *, only_if: str = "") -> None:
        condition: dict[str, Any] = {"ConditionExpression": only_if} if only_if else {}
        try:
            self.client.update_item(
                TableName=self.table,
                Key=self._key(request),
                UpdateExpression=expression,
                ExpressionAttributeValues=values,
                **condition,
            )
        except self.client.exceptions.ConditionalCheckFailedException:
            # Somebody has counted this already: a duplicate, or a message that was overtaken.
            return
