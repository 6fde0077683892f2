"""Many objects at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

S3_CALLS_AT_ONCE: Final = 16
"""Threads that call S3 for one run."""
_DELETED_AT_ONCE: Final = 1_000


def delete_all(s3: S3Client, bucket: str, keys: Iterable[str]) -> None:
    """Delete objects, up to a thousand a call.

    Raises:
        RuntimeError: S3 refused one of them.
    """
    listed = list(keys)
    for start in range(0, len(listed), _DELETED_AT_ONCE):
        some: Any = [{"Key": key} for key in listed[start : start + _DELETED_AT_ONCE]]
        answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": some, "Quiet": True})
        if errors := answer.get("Errors"):
            raise RuntimeError(f"S3 did not delete {errors[0]['Key']}: {errors[0]['Code']}")
