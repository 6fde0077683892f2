"""What the Delta tables look like from outside: versions, files, bytes, dates, and how far their readers are."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lakehouse.control import Progress
from lakehouse.delta_log import read_snapshot
from lakehouse.lake_tables import DATE, LAKE_TABLES

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

    from lakehouse.settings import Places


@dataclass(frozen=True, kw_only=True)
class TableState:
    """One Delta table.

    Attributes:
        table: Its name.
        uri: Where it lies.
        version: Its newest commit.
        checkpoint: The version that a reader starts from; -1 when it replays every commit.
        files: Data files of the newest version.
        bytes: Their size.
        dates: Listen dates; None where the table is not partitioned by date.
        first_date: The oldest of them.
        last_date: The newest of them.
        most_files_of_a_date: Files of the date that has most.
        read_up_to: Version up to which its reader has finished; None where nobody has read it.
    """

    table: str
    uri: str
    version: int
    checkpoint: int
    files: int
    bytes: int
    dates: int | None
    first_date: str | None
    last_date: str | None
    most_files_of_a_date: int | None
    read_up_to: int | None

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


def describe_tables(s3: S3Client, dynamodb: DynamoDBClient, places: Places) -> list[TableState]:
    """Return the state of every Delta table that is there; reads their logs only."""
    progress = Progress(dynamodb, places.control_table)
    states = []
    for table in LAKE_TABLES:
        snapshot = read_snapshot(s3, table.bucket(places), table.prefix)
        if snapshot is None:
            continue
        days = [str(file.partition[DATE]) for file in snapshot.files.values() if DATE in file.partition]
        states.append(
            TableState(
                table=table.name,
                uri=table.uri(places),
                version=snapshot.version,
                checkpoint=snapshot.checkpoint,
                files=len(snapshot.files),
                bytes=sum(file.size for file in snapshot.files.values()),
                dates=len(set(days)) if table.by_date else None,
                first_date=min(days, default=None),
                last_date=max(days, default=None),
                most_files_of_a_date=max((days.count(day) for day in set(days)), default=0) if table.by_date else None,
                read_up_to=progress.read(table.reader) if table.reader else None,
            )
        )
    return states
