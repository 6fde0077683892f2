"""Read a Delta table without Spark: which files make up a version, by the log's own protocol.

The newest classic checkpoint at or before the version, then every JSON commit after it.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import unquote

import pyarrow.parquet as pq

from lakehouse.batches import list_files
from lakehouse.errors import ListenlakeError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from lakehouse.lake_tables import LakeTable
    from lakehouse.settings import Places

T = TypeVar("T")

_COMMIT: Final = re.compile(r"(\d{20})\.json")
_CHECKPOINT: Final = re.compile(r"(\d{20})\.checkpoint(\.\d{10}\.\d{10})?\.parquet")


class DeltaLogError(ListenlakeError):
    """The log can't be followed up to the version."""


@dataclass(frozen=True)
class DeltaFile:
    """One data file.

    Attributes:
        key: Key of the object.
        size: Bytes.
        partition: Partition values by column, as text.
        path: The log's own name of it, below the table.
    """

    key: str
    size: int
    partition: dict[str, str | None]
    path: str


@dataclass(frozen=True)
class Snapshot:
    """A table as of one version.

    Attributes:
        version: Number of the commit.
        files: Data files by key.
        checkpoint: Version of the checkpoint it was read from, -1 without one.
        oldest: Oldest commit whose log file is still there.
        transactions: By application, the newest version that it has committed (`delta_commits.Replacement.commit`).
        table_id: Identity of the table: another one made in its place has another.
        protocol: What it asks of readers and writers, as the log has it.
    """

    version: int
    files: dict[str, DeltaFile] = field(default_factory=dict)
    checkpoint: int = -1
    oldest: int = 0
    transactions: dict[str, int] = field(default_factory=dict)
    table_id: str = ""
    protocol: dict[str, Any] = field(default_factory=dict)

    @property
    def dates(self) -> set[date]:
        """The listen dates that there are rows of, in a table partitioned by them."""
        days = (file.partition["listen_date"] for file in self.files.values())
        return {date.fromisoformat(day) for day in days if day is not None}


@dataclass(frozen=True)
class ChangedFile:
    """A file with rows that a commit has changed.

    Attributes:
        file: The file.
        version: The commit.
        kind: What became of all its rows, insert or delete; empty where its column `_change_type` tells it of each.
    """

    file: DeltaFile
    version: int
    kind: str


@dataclass(frozen=True)
class Commit:
    """One commit of a table.

    Attributes:
        version: Its number.
        metadata: What its writer said of it (`lakehouse.delta.commit_metadata`); empty when it said nothing.
    """

    version: int
    metadata: dict[str, Any]


def newest_commit(s3: S3Client, bucket: str, prefix: str) -> Commit | None:
    """Return the newest commit of the table under `prefix`; None when there is no table."""
    log = f"{prefix}_delta_log/"
    names = [file.key.removeprefix(log) for file, _ in list_files(s3, bucket, log)]
    commits = [name for name in names if _COMMIT.fullmatch(name)]
    if not commits:
        return None
    version = int(max(commits).removesuffix(".json"))
    told = [action["commitInfo"] for action in read_commit(s3, bucket, prefix, version) if "commitInfo" in action]
    return Commit(version, json.loads(told[0].get("userMetadata") or "{}") if told else {})


def version_of(s3: S3Client, table: LakeTable, places: Places) -> int:
    """Return the newest version of a table that is there, by its log and without Spark."""
    return _there(newest_commit(s3, table.bucket(places), table.prefix), table, places).version


def snapshot_of(s3: S3Client, table: LakeTable, places: Places) -> Snapshot:
    """Return a table that is there as it is now, by its log and without Spark."""
    return _there(read_snapshot(s3, table.bucket(places), table.prefix), table, places)


def dates_of(s3: S3Client, table: LakeTable, places: Places, *, version: int | None = None) -> set[date]:
    """Return the listen dates that a table partitioned by them has rows of, as of `version` or as it is now."""
    return _there(read_snapshot(s3, table.bucket(places), table.prefix, version=version), table, places).dates


def _there(found: T | None, table: LakeTable, places: Places) -> T:
    if found is None:
        raise AssertionError(f"{table.uri(places)} is made before it is asked for")
    return found


def read_snapshot(s3: S3Client, bucket: str, prefix: str, *, version: int | None = None) -> Snapshot | None:
    """Return the table under `prefix` as of `version`, the newest by default; None when there is no table.

    Raises:
        DeltaLogError: A commit is missing.
    """
    names = [file.key.rsplit("/", 1)[1] for file, _ in list_files(s3, bucket, f"{prefix}_delta_log/")]
    commits = {int(match[1]) for name in names if (match := _COMMIT.fullmatch(name))}
    if not commits:
        return None
    newest = max(commits) if version is None else version
    parts: dict[int, list[str]] = {}
    for name in names:
        if (match := _CHECKPOINT.fullmatch(name)) and int(match[1]) <= newest:
            parts.setdefault(int(match[1]), []).append(name)
    checkpoint = max(parts, default=-1)
    missing = [number for number in range(checkpoint + 1, newest + 1) if number not in commits]
    if missing:
        raise DeltaLogError(
            expected=f"every commit after the checkpoint {checkpoint} up to {newest} in {bucket}/{prefix}_delta_log/",
            found=f"no commit {missing[0]}",
            do="The log was cleaned up or damaged; ask for a newer version.",
        )
    snapshot = Snapshot(newest, {}, checkpoint, min(commits), {})
    for name in parts.get(checkpoint, []):
        body = s3.get_object(Bucket=bucket, Key=f"{prefix}_delta_log/{name}")["Body"].read()
        for row in pq.read_table(io.BytesIO(body), columns=["add", "txn", "metaData", "protocol"]).to_pylist():
            snapshot = _apply({name: value for name, value in row.items() if value}, prefix, snapshot)
    for number in range(checkpoint + 1, newest + 1):
        for action in read_commit(s3, bucket, prefix, number):
            snapshot = _apply(action, prefix, snapshot)
    return snapshot


def changed_files(s3: S3Client, bucket: str, prefix: str, *, after: int, until: int) -> Iterator[ChangedFile]:
    """Yield the files that tell what commits (`after`, `until`] of a table have changed, in order of the commits.

    By the protocol's rule for readers of the change data feed: the commit's change data files where it has any, and
    its added and removed files, save those that only moved rows, where it has none.

    Raises:
        DeltaLogError: A commit is no longer there.
    """
    for version in range(after + 1, until + 1):
        try:
            actions = list(read_commit(s3, bucket, prefix, version))
        except s3.exceptions.NoSuchKey as error:
            raise DeltaLogError(
                expected=f"every commit of {bucket}/{prefix} from {after + 1} to {until}",
                found=f"no commit {version}",
                do="It was cleaned up before this reader has followed it, or lost. `listenlake kpis rebuild` serves"
                " the table as it is now.",
            ) from error
        told = [(action["cdc"], "") for action in actions if "cdc" in action]
        plain = [
            (action[name], kind)
            for name, kind in (("remove", "delete"), ("add", "insert"))
            for action in actions
            if name in action and action[name]["dataChange"]
        ]
        for action, kind in told or plain:
            yield ChangedFile(_data_file(prefix, action), version, kind)


def commit_key(prefix: str, version: int) -> str:
    """Return the key of a commit of the table under `prefix`."""
    return f"{prefix}_delta_log/{version:020}.json"


def read_commit(s3: S3Client, bucket: str, prefix: str, version: int) -> Iterator[dict[str, Any]]:
    """Yield the actions of a commit, each by its kind."""
    body = s3.get_object(Bucket=bucket, Key=commit_key(prefix, version))["Body"].read()
    return map(json.loads, body.splitlines())


def _apply(action: dict[str, Any], prefix: str, snapshot: Snapshot) -> Snapshot:
    if "add" in action:
        file = _data_file(prefix, action["add"])
        snapshot.files[file.key] = file
    elif "remove" in action:
        snapshot.files.pop(prefix + unquote(action["remove"]["path"]), None)
    elif "txn" in action:
        snapshot.transactions[action["txn"]["appId"]] = int(action["txn"]["version"])
    elif "metaData" in action:
        return replace(snapshot, table_id=action["metaData"]["id"])
    elif "protocol" in action:
        return replace(snapshot, protocol=action["protocol"])
    return snapshot


def _data_file(prefix: str, action: dict[str, Any]) -> DeltaFile:
    if action.get("deletionVector"):
        raise DeltaLogError(
            expected="a table without deletion vectors",
            found=f"one in {prefix}",
            do="Rewrite the table with `REORG TABLE … APPLY (PURGE)`.",
        )
    return DeltaFile(
        prefix + unquote(action["path"]), int(action["size"]), dict(action["partitionValues"]), action["path"]
    )
