"""Small durable records beside the checkpoint, each written once: whoever comes second reads what the first one wrote.

That is what makes a batch the same for every driver and every attempt that reads it, a driver that should be dead
included. Locations are `s3://bucket/prefix` (also `s3a://`), or a folder for programs on one machine.
"""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from lakehouse.errors import SettingsError, SourceError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONFLICT_TRIES: Final = 10
THREADS: Final = 8


class Journal(Protocol):
    """Texts by name."""

    def put_once(self, name: str, text: str) -> str:
        """Write `text` unless the name is taken, and return what is there then."""
        ...

    def read(self, name: str) -> str | None:
        """Return the text of this name, None when there is none."""
        ...

    def names(self) -> list[str]:
        """Return every name, the one written last at the end."""
        ...

    def remove(self, names: list[str]) -> None:
        """Remove names that are no longer needed."""
        ...


def open_journal(location: str, *, s3: S3Client | None = None) -> Journal:
    """Return the journal at a location.

    Args:
        location: Where it is.
        s3: The client to reach it with; by default one as the environment says.

    Raises:
        SettingsError: It is neither on S3 nor a local folder.
    """
    parts = urlsplit(location)
    if parts.scheme in ("s3", "s3a") and parts.netloc:
        return S3Journal(parts.netloc, parts.path.strip("/"), s3)
    if parts.scheme in ("", "file") and parts.path.startswith("/"):
        return FolderJournal(Path(parts.path))
    raise SettingsError(
        expected="progressLocation as s3://bucket/prefix, or file:/folder for programs on one machine",
        found=repr(location),
        do="Name a place that the driver and every task can reach.",
    )


def read_all(journal: Journal, names: list[str]) -> list[str | None]:
    """Return the texts of many names, None where there is none."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(journal.read, names))


@cache
def _s3() -> S3Client:
    return boto3.client("s3", config=Config(retries={"mode": "standard", "max_attempts": 10}))


class S3Journal:
    """Objects below a prefix; S3 itself refuses the second put."""

    def __init__(self, bucket: str, prefix: str, client: S3Client | None = None) -> None:
        self._s3 = client or _s3()
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""

    def put_once(self, name: str, text: str) -> str:
        """Write `text` unless the name is taken, and return what is there then."""
        for _ in range(CONFLICT_TRIES):
            try:
                self._s3.put_object(Bucket=self._bucket, Key=self._prefix + name, Body=text.encode(), IfNoneMatch="*")
            except ClientError as error:
                # A conflict says that another put was under way and nothing of how it ended; the SDK repeats a put
                # whose answer was lost, so what is there may be our own.
                if error.response["Error"]["Code"] not in ("PreconditionFailed", "ConditionalRequestConflict"):
                    raise
                if (found := self.read(name)) is not None:
                    return found
            else:
                return text
        raise SourceError(
            expected=f"s3://{self._bucket}/{self._prefix}{name} to be written once",
            found=f"{CONFLICT_TRIES} conflicts in a row",
            do="See who else writes there; start the query again, nothing was lost.",
        )

    def read(self, name: str) -> str | None:
        """Return the text of this name, None when there is none."""
        try:
            return self._s3.get_object(Bucket=self._bucket, Key=self._prefix + name)["Body"].read().decode()
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                return None
            raise

    def names(self) -> list[str]:
        """Return every name, the one written last at the end."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
        found = [(entry["LastModified"], entry["Key"]) for page in pages for entry in page.get("Contents", [])]
        return [key.removeprefix(self._prefix) for _, key in sorted(found)]

    def remove(self, names: list[str]) -> None:
        """Remove names that are no longer needed."""
        if names:
            keys = [{"Key": self._prefix + name} for name in names]
            self._s3.delete_objects(Bucket=self._bucket, Delete={"Objects": keys, "Quiet": True})  # type: ignore[typeddict-item]


class FolderJournal:
    """Files in a folder; the file system refuses the second link."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put_once(self, name: str, text: str) -> str:
        """Write `text` unless the name is taken, and return what is there then."""
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".")
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return path.read_text()
        finally:
            Path(draft).unlink()
        return text

    def read(self, name: str) -> str | None:
        """Return the text of this name, None when there is none."""
        path = self._folder / name
        return path.read_text() if path.exists() else None

    def names(self) -> list[str]:
        """Return every name, the one written last at the end."""
        found = [path for path in self._folder.rglob("[!.]*") if path.is_file()]
        return [str(path.relative_to(self._folder)) for path in sorted(found, key=lambda path: path.stat().st_mtime_ns)]

    def remove(self, names: list[str]) -> None:
        """Remove names that are no longer needed."""
        for name in names:
            (self._folder / name).unlink(missing_ok=True)
