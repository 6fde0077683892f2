"""The PutRecords call: which records stand where, which failed with what, and which failures end a delivery."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from botocore.exceptions import ClientError, ConnectionError, HTTPClientError  # noqa: A004

from producers.errors import LaneError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mypy_boto3_kinesis import KinesisClient

    from producers.packing import Entry

RETRIED_CODES: Final = frozenset(
    {
        "InternalFailure",
        "InternalServerError",
        "KMSThrottlingException",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "ServiceUnavailable",
        "ThrottlingException",
    }
)
NO_ANSWER: Final = "no answer"


class Answer(NamedTuple):
    """What became of a call, by place in it.

    Attributes:
        failed: Error codes of the records to be sent again.
        placed: Shard and sequence number of the others.
    """

    failed: dict[int, str]
    placed: dict[int, tuple[str, str]]


def put_records(kinesis: KinesisClient, stream: str, call: Sequence[Entry]) -> Answer:
    """Make one call.

    Raises:
        LaneError: The stream is missing or refuses for good.
    """
    entries = [
        {"Data": entry.data, "PartitionKey": entry.key}
        if entry.hash_key is None
        else {"Data": entry.data, "PartitionKey": entry.key, "ExplicitHashKey": entry.hash_key}
        for entry in call
    ]
    try:
        answer = kinesis.put_records(StreamName=stream, Records=entries)  # type: ignore[arg-type]
    except (ConnectionError, HTTPClientError):
        return Answer(dict.fromkeys(range(len(call)), NO_ANSWER), {})
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in RETRIED_CODES:
            return Answer(dict.fromkeys(range(len(call)), code), {})
        raise _refused(stream, code) from error
    failed: dict[int, str] = {}
    placed: dict[int, tuple[str, str]] = {}
    for place, result in enumerate(answer["Records"]):
        if result.get("ErrorCode") or "SequenceNumber" not in result:
            failed[place] = result.get("ErrorCode", "unknown")
        else:
            placed[place] = (result["ShardId"], result["SequenceNumber"])
    return Answer(failed, placed)


def _refused(stream: str, code: str) -> LaneError:
    if code == "ResourceNotFoundException":
        found, do = "no stream of that name", "Check the name, region and endpoint, or create the stream first."
    else:
        found, do = f"the refusal {code}", "Check credentials, permissions and the stream's encryption key."
    return LaneError(expected=f"the Kinesis stream {stream!r}", found=found, do=do)
