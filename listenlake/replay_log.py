"""What replays have sent: objects under `replays/` of the raw bucket, one for each call of PutRecords.

Written after the stream took the events. An entry says which bad record came back as which record of the stream; that
is what lets an account follow an event from its rejection to its acceptance.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from lakehouse import layout
from lakehouse.bad_records import Position
from lakehouse.batches import list_files

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One event that was sent.

    Attributes:
        position: Of the bad record.
        became: Its new position on the stream; None in what was written before positions were kept.
        digest: SHA-256 of the bytes as sent.
        attempt: Which attempt at these bytes it was, from 1.
    """

    position: Position
    became: Position | None
    digest: str
    attempt: int


def write_call(s3: S3Client, bucket: str, name: str, *, context: Mapping[str, Any], entries: Sequence[Entry]) -> None:
    """Record what one call has sent.

    Args:
        s3: S3.
        bucket: The raw bucket.
        name: `<replay id>/<number of the call>`.
        context: When, what was selected and the fix; times may be `datetime`.
        entries: What was sent.
    """
    body = {**context, "records": [asdict(entry) for entry in entries]}
    s3.put_object(
        Bucket=bucket,
        Key=f"{layout.REPLAYS}{name}.json",
        Body=json.dumps(body, default=datetime.isoformat).encode(),
        ContentType="application/json",
    )


def read_entries(s3: S3Client, bucket: str) -> Iterator[Entry]:
    """Yield everything that was ever sent, one object at a time."""
    for file, _ in list_files(s3, bucket, layout.REPLAYS):
        for entry in json.loads(s3.get_object(Bucket=bucket, Key=file.key)["Body"].read())["records"]:
            became = entry.get("became")
            yield Entry(
                position=Position(*entry["position"]),
                became=Position(*became) if became else None,
                digest=entry["digest"],
                attempt=entry["attempt"],
            )
