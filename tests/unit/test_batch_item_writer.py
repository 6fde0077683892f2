"""Items under the version guard (moto): every write is accounted for, numbers are exact, tombstones stay."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import boto3
import pytest
from botocore.exceptions import ClientError

from batch_jobs import item_writer
from batch_jobs.item_writer import ItemWriter
from lakehouse.errors import LeaseError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_dynamodb import DynamoDBClient

TABLE: Final = "t-daily"
KEY: Final = ("listen_date", "track_genre")
NOW: Final = datetime(2024, 7, 1, tzinfo=UTC)
IN_THIRTY_DAYS: Final = 1_722_384_000
"""`date -u -d 2024-07-31 +%s`"""


@pytest.fixture
def writer(aws: None) -> ItemWriter:
    client = boto3.client("dynamodb")
    client.create_table(
        TableName=TABLE,
        KeySchema=[
            {"AttributeName": "track_genre", "KeyType": "HASH"},
            {"AttributeName": "listen_date", "KeyType": "RANGE"},
        ],
        AttributeDefinitions=[
            {"AttributeName": "track_genre", "AttributeType": "S"},
            {"AttributeName": "listen_date", "AttributeType": "S"},
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    return ItemWriter(client, TABLE, KEY, {"listen_count": 0}, lambda: NOW)


def item(version: int, *, genre: str = "rock", count: int = 5, deleted: bool = False) -> dict[str, Any]:
    key = {"track_genre": genre, "listen_date": "2024-06-25", "source_version": version, "deleted": deleted}
    if deleted:
        return key
    song = {"rank": 1, "track_id": "a", "track_name": 'x "y", z', "plays": count}
    return {**key, "listen_count": count, "avg_listening_time_per_user_ms": Decimal("18421.10"), "top_songs": [song]}


def served(client: DynamoDBClient, genre: str = "rock") -> dict[str, Any]:
    key: Any = {"track_genre": {"S": genre}, "listen_date": {"S": "2024-06-25"}}
    found: dict[str, Any] = client.get_item(TableName=TABLE, Key=key)["Item"]
    return found


def test_a_new_item_is_written(writer: ItemWriter) -> None:
    assert writer.apply([item(3)]) == {"written": 1}
    assert served(writer.client) == {
        "track_genre": {"S": "rock"},
        "listen_date": {"S": "2024-06-25"},
        "source_version": {"N": "3"},
        "listen_count": {"N": "5"},
        "avg_listening_time_per_user_ms": {"N": "18421.10"},
        "top_songs": {
            "L": [
                {
                    "M": {
                        "rank": {"N": "1"},
                        "track_id": {"S": "a"},
                        "track_name": {"S": 'x "y", z'},
                        "plays": {"N": "5"},
                    }
                }
            ]
        },
    }


def test_a_retry_changes_nothing(writer: ItemWriter) -> None:
    writer.apply([item(3)])
    before = served(writer.client)
    assert writer.apply([item(3, count=99)]) == {"unchanged": 1}
    assert served(writer.client) == before


def test_a_newer_version_replaces_the_item_whole(writer: ItemWriter) -> None:
    writer.apply([item(3)])
    newer = {name: value for name, value in item(10, count=7).items() if name != "top_songs"}
    assert writer.apply([newer]) == {"written": 1}
    assert served(writer.client)["listen_count"] == {"N": "7"}
    assert "top_songs" not in served(writer.client)


def test_an_older_run_that_finishes_late_is_refused_and_counted(writer: ItemWriter) -> None:
    writer.apply([item(10)])
    before = served(writer.client)
    assert writer.apply([item(9, count=1), item(2, deleted=True)]) == {"refused": 2}
    assert served(writer.client) == before


def test_what_vanished_becomes_a_tombstone_that_no_older_run_revives(writer: ItemWriter) -> None:
    writer.apply([item(3)])
    assert writer.apply([item(4, deleted=True)]) == {"tombstoned": 1}
    tombstone = {
        "track_genre": {"S": "rock"},
        "listen_date": {"S": "2024-06-25"},
        "source_version": {"N": "4"},
        "listen_count": {"N": "0"},
        "deleted": {"BOOL": True},
        "expires_at": {"N": str(IN_THIRTY_DAYS)},
    }
    assert served(writer.client) == tombstone
    assert writer.apply([item(3)]) == {"refused": 1}
    assert writer.apply([item(4, deleted=True)]) == {"unchanged": 1}
    assert served(writer.client) == tombstone
    assert writer.apply([item(5)]) == {"written": 1}
    assert not {"deleted", "expires_at"} & served(writer.client).keys()


def test_many_items_are_all_accounted_for(writer: ItemWriter) -> None:
    writer.apply([item(3, genre=f"g{number}") for number in range(20)])
    told = writer.apply(
        [item(3, genre=f"g{number}") for number in range(10)]
        + [item(2, genre=f"g{number}") for number in range(10, 15)]
        + [item(4, genre=f"g{number}", deleted=True) for number in range(15, 20)]
        + [item(1, genre=f"g{number}") for number in range(20, 40)]
    )
    assert told == {"unchanged": 10, "refused": 5, "tombstoned": 5, "written": 20}
    assert served(writer.client, "g39")["source_version"] == {"N": "1"}


def test_a_float_never_reaches_dynamodb(writer: ItemWriter) -> None:
    with pytest.raises(TypeError, match="Float types are not supported"):
        writer.apply([item(1) | {"avg_listening_time_per_user_ms": 1.5}])
    assert "Item" not in writer.client.get_item(
        TableName=TABLE, Key={"track_genre": {"S": "rock"}, "listen_date": {"S": "2024-06-25"}}
    )


def test_any_other_failure_is_raised(writer: ItemWriter) -> None:
    missing = ItemWriter(writer.client, "no-such-table", KEY, {}, lambda: NOW)
    with pytest.raises(writer.client.exceptions.ResourceNotFoundException):
        missing.apply([item(1)])


def test_items_are_taken_as_they_are_written_and_the_lease_is_checked_between(
    writer: ItemWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(item_writer, "AT_ONCE", 3)
    taken: list[int] = []
    held: list[int] = []

    def items() -> Iterator[dict[str, Any]]:
        for number in range(8):
            taken.append(number)
            yield item(1, genre=f"g{number}")

    def check() -> None:
        scanned = writer.client.scan(TableName=TABLE)["Count"]
        held.append(len(taken) - scanned)

    assert dataclasses.replace(writer, check=check).apply(items()) == {"written": 8}
    assert held == [3, 3, 2], "never more than one chunk is taken and not yet written"


def test_a_run_that_lost_its_lease_writes_no_further_chunk(writer: ItemWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_writer, "AT_ONCE", 2)
    allowed = iter([None])

    def check() -> None:
        if next(allowed, "lost") == "lost":
            raise LeaseError(expected="the lease", found="none", do="Stop.")

    with pytest.raises(LeaseError):
        dataclasses.replace(writer, check=check).apply(item(1, genre=f"g{number}") for number in range(6))
    assert writer.client.scan(TableName=TABLE)["Count"] == 2


class Troubled:
    """DynamoDB that answers the first puts with an error, whether or not it has carried them out."""

    def __init__(self, client: DynamoDBClient, *errors: str, carried_out: bool = False) -> None:
        self._client, self._errors, self._carried_out = client, list(errors), carried_out
        self.exceptions = client.exceptions

    def put_item(self, **request: Any) -> Any:
        if self._errors:
            raise ClientError({"Error": {"Code": self._errors.pop(0), "Message": "trouble"}}, "PutItem")
        if self._carried_out:
            self._client.put_item(**request)
        try:
            return self._client.put_item(**request)
        except ClientError as error:
            error.response["ResponseMetadata"]["RetryAttempts"] = 1
            raise


def troubled(writer: ItemWriter, *errors: str, carried_out: bool = False, **others: Any) -> ItemWriter:
    client: Any = Troubled(writer.client, *errors, carried_out=carried_out)
    return dataclasses.replace(writer, client=client, **others)


def test_throttling_is_waited_out_with_full_jitter(writer: ItemWriter) -> None:
    slept: list[float] = []
    throttled = ["ThrottlingException", "ProvisionedThroughputExceededException"] * 5
    found = troubled(writer, *throttled, sleep=slept.append, chance=lambda: 0.5).apply([item(1)])
    assert found == {"written": 1}
    assert slept == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0], "half of a limit that doubles, up to 20 s"


def test_throttling_without_end_and_any_other_error_end_the_run(writer: ItemWriter) -> None:
    for errors in (["ThrottlingException"] * 12, ["ValidationException"]):
        with pytest.raises(ClientError, match=errors[0]):
            troubled(writer, *errors, sleep=lambda _: None).apply([item(1)])
    assert writer.client.scan(TableName=TABLE)["Count"] == 0


def test_a_put_whose_answer_was_lost_counts_as_written(writer: ItemWriter) -> None:
    assert troubled(writer, carried_out=True).apply([item(1)]) == {"written": 1}
    assert troubled(writer).apply([item(1, count=9)]) == {"unchanged": 1}, "met another's item of the same version"


def test_what_is_older_than_a_rebuild_is_found_tombstones_included(writer: ItemWriter) -> None:
    assert writer.newest_version() is None
    writer.apply([item(3), item(7, genre="pop"), item(9, genre="jazz", deleted=True)])
    writer.client.put_item(TableName=TABLE, Item={"track_genre": {"S": "by hand"}, "listen_date": {"S": "2024-01-01"}})
    assert writer.newest_version() == 9
    older = sorted(writer.older_than(8), key=lambda found: str(found["track_genre"]))
    assert older == [
        {"track_genre": "by hand", "listen_date": "2024-01-01", "source_version": 8, "deleted": True},
        {"track_genre": "pop", "listen_date": "2024-06-25", "source_version": 8, "deleted": True},
        {"track_genre": "rock", "listen_date": "2024-06-25", "source_version": 8, "deleted": True},
    ]
    assert writer.apply(older) == {"tombstoned": 3}
    assert list(writer.older_than(8)) == []
