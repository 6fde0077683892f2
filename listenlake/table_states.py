"""What the Delta tables look like from outside: versions, files, bytes, dates, and how far their readers are."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from lakehouse import layout
from lakehouse.control import CONSUMED, Progress, dimension_name, served_name
from lakehouse.delta_log import read_snapshot
from lakehouse.tables import (
    ARCHIVED_LISTENS,
    CURATED_LISTENS,
    DAILY_GENRE_KPIS,
    DAILY_TOP_GENRES,
    KNOWN_SONGS,
    KNOWN_USERS,
    KPI_PARTIALS,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

    from lakehouse.settings import Places

DATE: Final = "listen_date"


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
    tables = (
        (CURATED_LISTENS, places.curated_bucket, layout.LATEST, CONSUMED),
        (ARCHIVED_LISTENS, places.curated_bucket, layout.ARCHIVE, None),
        (KPI_PARTIALS, places.curated_bucket, layout.PARTIALS, None),
        (KNOWN_USERS, places.curated_bucket, layout.KNOWN_USERS, dimension_name(KNOWN_USERS.name)),
        (KNOWN_SONGS, places.curated_bucket, layout.KNOWN_SONGS, dimension_name(KNOWN_SONGS.name)),
        (DAILY_GENRE_KPIS, places.presentation_bucket, layout.DAILY_LISTENS, served_name(DAILY_GENRE_KPIS.name)),
        (DAILY_TOP_GENRES, places.presentation_bucket, layout.TOP_GENRES, served_name(DAILY_TOP_GENRES.name)),
    )
    states = []
    for table, bucket, prefix, reader in tables:
        snapshot = read_snapshot(s3, bucket, prefix)
        if snapshot is None:
            continue
        days = [str(file.partition[DATE]) for file in snapshot.files.values() if DATE in file.partition]
        by_date = DATE in table.partition_by
        states.append(
            TableState(
                table=table.name,
                uri=layout.uri(bucket, prefix),
                version=snapshot.version,
                checkpoint=snapshot.checkpoint,
                files=len(snapshot.files),
                bytes=sum(file.size for file in snapshot.files.values()),
                dates=len(set(days)) if by_date else None,
                first_date=min(days, default=None),
                last_date=max(days, default=None),
                most_files_of_a_date=max((days.count(day) for day in set(days)), default=0) if by_date else None,
                read_up_to=progress.read(reader) if reader else None,
            )
        )
    return states
