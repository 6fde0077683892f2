"""Dimension files that can't be used: one message that names the file, what was expected and what was found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import pytest

from batch_jobs.dimensions import DimensionError, read_songs, read_users

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from pyspark.sql import SparkSession

NO_SPARK: Final = cast("SparkSession", None)
"""The header is judged before Spark is asked for anything."""


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (None, "no such file"),
        (b"", "an empty file"),
        (b"\n", "an empty file"),
        (b"\xef\xbb\xbf", "an empty file"),
        (b"user_id,user_name\n", "a header and no rows"),
        (b"user_id,user_name", "a header and no rows"),
        (b"user_id,user_name\r\n\r\n", "a header and no rows"),
        (b"id,user_name\n1,a\n", "columns id, user_name: user_id missing"),
        (b"user_name,created_at\na,b\n", "columns user_name, created_at: user_id missing"),
        (b"a,b\n1,2\n", "columns a, b: user_id, user_name missing"),
        (b"user_id;user_name\n1;a\n", "columns user_id;user_name: user_id, user_name missing"),
        (b"USER_ID,user_name\n1,a\n", "columns USER_ID, user_name: user_id missing"),
        (b"user_id,user_name,user_id\n1,a,1\n", "a column twice in user_id, user_name, user_id"),
        (b"1,Ada\n2,Uma\n", "columns 1, Ada: user_id, user_name missing"),
    ],
)
def test_users_that_cannot_be_used(s3: S3Client, raw_bucket: str, content: bytes | None, found: str) -> None:
    if content is not None:
        s3.put_object(Bucket=raw_bucket, Key="users/users.csv", Body=content)
    with pytest.raises(DimensionError) as caught:
        read_users(NO_SPARK, s3, raw_bucket)
    assert caught.value.found == found
    assert f"s3://{raw_bucket}/users/users.csv with columns user_id, user_name" in str(caught.value)
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("missing", ["track_id", "track_name", "popularity", "duration_ms", "track_genre"])
def test_songs_lack_a_required_column(s3: S3Client, raw_bucket: str, missing: str) -> None:
    names = ["id", "track_id", "track_name", "popularity", "duration_ms", "track_genre"]
    names.remove(missing)
    body = ",".join(names) + "\n" + "1," * (len(names) - 1) + "1\n"
    s3.put_object(Bucket=raw_bucket, Key="songs/songs.csv", Body=body.encode())
    with pytest.raises(DimensionError, match=rf"songs/songs\.csv.*: {missing} missing"):
        read_songs(NO_SPARK, s3, raw_bucket)


def test_a_bucket_that_does_not_exist_is_no_dimension_error(s3: S3Client) -> None:
    with pytest.raises(s3.exceptions.NoSuchBucket):
        read_users(NO_SPARK, s3, cast("Any", "no-such-bucket"))
