"""Items under the version guard (moto): every write is accounted for, numbers are exact, tombstones stay."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import boto3
import pytest

from batch_jobs.items import Serving

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

TABLE: Final = "t-daily"
NOW: Final = datetime(2024, 7, 1, tzinfo=UTC)
IN_THIRTY_DAYS: Final = 1_722_384_000
"""`date -u -d 2024-07-31 +%s`"""


@pytest.fixture
def serving(aws: None) -> Serving:
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
    return Serving(client, TABLE, {"listen_count": 0}, lambda: NOW)


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


def test_a_new_item_is_written(serving: Serving) -> None:
    assert serving.apply([item(3)]) == {"written": 1}
    assert served(serving.client) == {
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


def test_a_retry_changes_nothing(serving: Serving) -> None:
    serving.apply([item(3)])
    before = served(serving.client)
    assert serving.apply([item(3, count=99)]) == {"unchanged": 1}
    assert served(serving.client) == before


def test_a_newer_version_replaces_the_item_whole(serving: Serving) -> None:
    serving.apply([item(3)])
    newer = {name: value for name, value in item(10, count=7).items() if name != "top_songs"}
    assert serving.apply([newer]) == {"written": 1}
    assert served(serving.client)["listen_count"] == {"N": "7"}
    assert "top_songs" not in served(serving.client)


def test_an_older_run_that_finishes_late_is_refused_and_counted(serving: Serving) -> None:
    serving.apply([item(10)])
    before = served(serving.client)
    assert serving.apply([item(9, count=1), item(2, deleted=True)]) == {"refused": 2}
    assert served(serving.client) == before


def test_what_vanished_becomes_a_tombstone_that_no_older_run_revives(serving: Serving) -> None:
    serving.apply([item(3)])
    assert serving.apply([item(4, deleted=True)]) == {"tombstoned": 1}
    tombstone = {
        "track_genre": {"S": "rock"},
        "listen_date": {"S": "2024-06-25"},
        "source_version": {"N": "4"},
        "listen_count": {"N": "0"},
        "deleted": {"BOOL": True},
        "expires_at": {"N": str(IN_THIRTY_DAYS)},
    }
    assert served(serving.client) == tombstone
    assert serving.apply([item(3)]) == {"refused": 1}
    assert serving.apply([item(4, deleted=True)]) == {"unchanged": 1}
    assert served(serving.client) == tombstone
    assert serving.apply([item(5)]) == {"written": 1}
    assert not {"deleted", "expires_at"} & served(serving.client).keys()


def test_many_items_are_all_accounted_for(serving: Serving) -> None:
    serving.apply([item(3, genre=f"g{number}") for number in range(20)])
    told = serving.apply(
        [item(3, genre=f"g{number}") for number in range(10)]
        + [item(2, genre=f"g{number}") for number in range(10, 15)]
        + [item(4, genre=f"g{number}", deleted=True) for number in range(15, 20)]
        + [item(1, genre=f"g{number}") for number in range(20, 40)]
    )
    assert told == {"unchanged": 10, "refused": 5, "tombstoned": 5, "written": 20}
    assert served(serving.client, "g39")["source_version"] == {"N": "1"}


def test_a_float_never_reaches_dynamodb(serving: Serving) -> None:
    with pytest.raises(TypeError, match="Float types are not supported"):
        serving.apply([item(1) | {"avg_listening_time_per_user_ms": 1.5}])
    assert "Item" not in serving.client.get_item(
        TableName=TABLE, Key={"track_genre": {"S": "rock"}, "listen_date": {"S": "2024-06-25"}}
    )


def test_any_other_failure_is_raised(serving: Serving) -> None:
    missing = Serving(serving.client, "no-such-table", {}, lambda: NOW)
    with pytest.raises(serving.client.exceptions.ResourceNotFoundException):
        missing.apply([item(1)])
