"""Leases on DynamoDB (moto), with lives of fractions of a second."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from lakehouse import leases
from lakehouse.leases import Lease, LeaseHeldError, LeaseLostError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_dynamodb import DynamoDBClient

NEVER = 3600.0
DEADLINE = 20.0


@pytest.fixture(autouse=True)
def poll_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "POLL_SECONDS", 0.01)


@pytest.fixture
def lease(dynamodb: DynamoDBClient, control_table: str) -> Callable[..., Lease]:
    def build(run_id: str, **seconds: float) -> Lease:
        times = {"lease_seconds": 0.2, "renew_seconds": NEVER} | seconds
        return Lease(dynamodb, table=control_table, job="job", run_id=run_id, **times)

    return build


def read_holder(dynamodb: DynamoDBClient, table: str) -> dict[str, Any] | None:
    return dynamodb.get_item(TableName=table, Key={"pk": {"S": "lease"}, "sk": {"S": "job"}}).get("Item")


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.005)


def test_a_lease_is_held_and_given_back(
    lease: Callable[..., Lease], dynamodb: DynamoDBClient, control_table: str
) -> None:
    with lease("run-1") as held:
        held.check()
        item = read_holder(dynamodb, control_table)
        assert item is not None
        assert item["run_id"] == {"S": "run-1"}
    assert read_holder(dynamodb, control_table) is None
    with lease("run-2", lease_seconds=NEVER):  # at once: nobody has to be waited for
        pass


def test_a_lease_is_given_back_when_the_run_fails(
    lease: Callable[..., Lease], dynamodb: DynamoDBClient, control_table: str
) -> None:
    with pytest.raises(ZeroDivisionError), lease("run-1"):
        raise ZeroDivisionError
    assert read_holder(dynamodb, control_table) is None


def test_the_heartbeat_renews(lease: Callable[..., Lease], dynamodb: DynamoDBClient, control_table: str) -> None:
    with lease("run-1", renew_seconds=0.01):
        first = read_holder(dynamodb, control_table)
        wait_until(lambda: read_holder(dynamodb, control_table) != first)


def test_a_second_run_is_refused_while_the_first_lives(
    lease: Callable[..., Lease], dynamodb: DynamoDBClient, control_table: str
) -> None:
    with lease("run-1", renew_seconds=0.02):
        with pytest.raises(LeaseHeldError, match="run run-1 alive"), lease("run-2", lease_seconds=DEADLINE):
            raise AssertionError("two runs at once")
        item = read_holder(dynamodb, control_table)
        assert item is not None
        assert item["run_id"] == {"S": "run-1"}


def test_jobs_do_not_share_a_lease(lease: Callable[..., Lease], dynamodb: DynamoDBClient, control_table: str) -> None:
    with (
        lease("run-1", renew_seconds=0.02),
        Lease(dynamodb, table=control_table, job="other", run_id="run-2", lease_seconds=NEVER) as other,
    ):
        other.check()


def test_a_silent_lease_is_taken_over_and_its_holder_stops(
    lease: Callable[..., Lease],
    dynamodb: DynamoDBClient,
    control_table: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    stalled = lease("run-1")
    with stalled:
        began = time.monotonic()
        with lease("run-2") as second:
            assert time.monotonic() - began >= 0.2
            for _ in range(2):
                with pytest.raises(LeaseLostError):
                    stalled.check()
            second.check()
            stalled.__exit__(None, None, None)  # the lease of its successor stays
            item = read_holder(dynamodb, control_table)
            assert item is not None
            assert item["run_id"] == {"S": "run-2"}
    assert "lease was taken over before the run ended" in caplog.messages


def test_the_heartbeat_notices_that_the_lease_was_lost(
    lease: Callable[..., Lease], dynamodb: DynamoDBClient, control_table: str
) -> None:
    with lease("run-1", renew_seconds=0.02) as stalled:
        dynamodb.put_item(
            TableName=control_table,
            Item={"pk": {"S": "lease"}, "sk": {"S": "job"}, "run_id": {"S": "run-2"}, "beat": {"S": "b"}},
        )
        wait_until(lambda: stalled.lost)
        with pytest.raises(LeaseLostError):
            stalled.check()


def test_a_waiting_run_goes_on_as_soon_as_the_lease_is_given_back(
    lease: Callable[..., Lease], dynamodb: DynamoDBClient, control_table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = lease("run-1").__enter__()
    waited = 0

    def give_back(_seconds: float) -> None:
        nonlocal waited
        waited += 1
        if waited == 3:
            first.__exit__(None, None, None)

    # The name in `leases` only: threads of other tests sleep in this process too.
    monkeypatch.setattr("lakehouse.leases.time", SimpleNamespace(sleep=give_back, monotonic=time.monotonic))
    with lease("run-2", lease_seconds=NEVER) as second:
        second.check()
    assert waited == 3


def test_one_failed_renewal_is_survived(
    lease: Callable[..., Lease], dynamodb: DynamoDBClient, control_table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lease("run-1", renew_seconds=0.01) as held:
        real = dynamodb.update_item
        failed: list[bool] = []

        def fail_once(**arguments: Any) -> Any:
            if not failed:
                failed.append(True)
                raise ConnectionError
            return real(**arguments)

        monkeypatch.setattr(dynamodb, "update_item", fail_once)
        wait_until(lambda: bool(failed))
        before = read_holder(dynamodb, control_table)
        wait_until(lambda: read_holder(dynamodb, control_table) != before)
        held.check()
