"""One writing run per job: a lease in the control table, renewed while the run lives.

Two drivers that commit to one Delta table on S3 at once can overwrite each other silently, so every run of a job,
however it was started, holds the job's lease. A run that finds the lease held watches it: a renewal proves that the
holder lives, and the second run ends with a clear message; silence for longer than the lease's time proves a crash,
and the run takes over. `check` is called before each commit and refuses to go on when the lease was lost.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from lakehouse.errors import LeaseError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

logger = logging.getLogger(__name__)

LEASE_SECONDS: Final = 15.0
RENEW_SECONDS: Final = 3.0
POLL_SECONDS: Final = 0.5


class LeaseHeldError(LeaseError):
    """Another run of the job is alive."""


class LeaseLostError(LeaseError):
    """This run stalled for longer than its lease and was replaced."""


class Lease:
    """The right to write as `job`; use it as a context manager around the whole run."""

    def __init__(
        self,
        client: DynamoDBClient,
        *,
        table: str,
        job: str,
        run_id: str,
        lease_seconds: float = LEASE_SECONDS,
        renew_seconds: float = RENEW_SECONDS,
    ) -> None:
        """Describe the lease; nothing is taken before `__enter__`."""
        self._client = client
        self._table = table
        self._job = job
        self._run_id = run_id
        self._seconds = lease_seconds
        self._renew_seconds = renew_seconds
        self._key: dict[str, Any] = {"pk": {"S": "lease"}, "sk": {"S": job}}
        self._stop = threading.Event()
        self._lost = threading.Event()
        self._heartbeat = threading.Thread(target=self._keep_alive, name=f"lease-{job}", daemon=True)

    def __enter__(self) -> Self:
        """Take the lease, waiting out a holder that no longer renews it.

        Raises:
            LeaseHeldError: The holder renewed its lease while this run watched.
        """
        seen = self._read_beat()
        watched_since = time.monotonic()
        while not self._take(instead_of=seen if self._expired(seen, watched_since) else None):
            beat = self._read_beat()
            if seen is not None and beat is not None and beat != seen:
                raise LeaseHeldError(
                    expected=f"no other run of {self._job}",
                    found=f"run {beat[0]} alive and holding the lease",
                    do="Let it finish, or stop it, and start this one again; nothing was written.",
                )
            if seen is None:
                seen, watched_since = beat, time.monotonic()
            time.sleep(POLL_SECONDS)
        self._heartbeat.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the lease back, if it is still ours."""
        self._stop.set()
        self._heartbeat.join()
        try:
            self._client.delete_item(
                TableName=self._table,
                Key=self._key,
                ConditionExpression="run_id = :me",
                ExpressionAttributeValues={":me": {"S": self._run_id}},
            )
        except self._client.exceptions.ConditionalCheckFailedException:
            logger.warning("lease was taken over before the run ended", extra={"job": self._job})

    @property
    def lost(self) -> bool:
        """Whether a renewal has found that another run took over."""
        return self._lost.is_set()

    def check(self) -> None:
        """Renew the lease now; call it directly before a commit.

        Raises:
            LeaseLostError: Another run has taken over.
        """
        if self._lost.is_set() or not self._renew():
            raise LeaseLostError(
                expected=f"the lease of {self._job} to be ours until the end of the run",
                found="that another run took it over while this one stalled",
                do="Nothing more is written here; the other run does the work.",
            )

    def _expired(self, seen: tuple[str, str] | None, watched_since: float) -> bool:
        return seen is not None and time.monotonic() - watched_since > self._seconds

    def _read_beat(self) -> tuple[str, str] | None:
        item = self._client.get_item(TableName=self._table, Key=self._key, ConsistentRead=True).get("Item")
        return (item["run_id"]["S"], item["beat"]["S"]) if item else None

    def _take(self, *, instead_of: tuple[str, str] | None) -> bool:
        free = "attribute_not_exists(pk)"
        values: dict[str, Any] = {}
        if instead_of is not None:
            free += " OR (run_id = :holder AND beat = :beat)"
            values = {":holder": {"S": instead_of[0]}, ":beat": {"S": instead_of[1]}}
            logger.warning("taking over a silent lease", extra={"job": self._job, "holder": instead_of[0]})
        item: dict[str, Any] = {**self._key, "run_id": {"S": self._run_id}, "beat": {"S": uuid.uuid4().hex}}
        extra: dict[str, Any] = {"ExpressionAttributeValues": values} if values else {}
        try:
            self._client.put_item(TableName=self._table, Item=item, ConditionExpression=free, **extra)
        except self._client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def _renew(self) -> bool:
        try:
            self._client.update_item(
                TableName=self._table,
                Key=self._key,
                UpdateExpression="SET beat = :beat",
                ConditionExpression="run_id = :me",
                ExpressionAttributeValues={":me": {"S": self._run_id}, ":beat": {"S": uuid.uuid4().hex}},
            )
        except self._client.exceptions.ConditionalCheckFailedException:
            self._lost.set()
            return False
        return True

    def _keep_alive(self) -> None:
        while not self._stop.wait(self._renew_seconds):
            try:
                if not self._renew():
                    return
            except Exception:
                # One failed renewal is survivable: the next follows well inside the lease, and `check` decides.
                logger.exception("could not renew the lease", extra={"job": self._job})
