"""The record of what is served never moves back, and a rebuild comes before every version (moto)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch_jobs.served_progress import Served, ServedProgress

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


def test_it_moves_by_offset_first_and_version_second(dynamodb: DynamoDBClient, control_table: str) -> None:
    progress = ServedProgress(dynamodb, control_table, "daily_listens")
    assert progress.read() is None
    moves = [
        (Served(5, 0, "a"), True),
        (Served(5, 0, "a"), False),
        (Served(4, 0, "a"), False),
        (Served(-1, 3, "a"), True),
        (Served(9, 2, "a"), False),
        (Served(9, 0, "a"), False),
        (Served(6, 3, "a"), True),
        (Served(5, 3, "a"), False),
        (Served(-1, 4, "b"), True),
    ]
    stands = None
    for wanted, moved in moves:
        assert progress.move(wanted, run_id="r") is moved, wanted
        stands = wanted if moved else stands
        assert progress.read() == stands
    assert ServedProgress(dynamodb, control_table, "top_genres").read() is None, "each table has its own"


def test_a_record_from_before_there_were_offsets_has_offset_0(dynamodb: DynamoDBClient, control_table: str) -> None:
    old: dict[str, Any] = {"pk": {"S": "progress"}, "sk": {"S": "served#daily_listens"}, "version": {"N": "7"}}
    progress = ServedProgress(dynamodb, control_table, "daily_listens")
    for first, moved in ((Served(7, 0, "a"), False), (Served(8, 0, "a"), True), (Served(-1, 1, "a"), True)):
        dynamodb.put_item(TableName=control_table, Item=old)
        assert progress.read() == Served(7, 0, "")
        assert progress.move(first, run_id="r") is moved
