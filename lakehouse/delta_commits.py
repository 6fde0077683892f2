"""Replace rows of a small Delta table in one commit, without Spark, by the log's own protocol.

Spark takes most of a second for such a commit, nearly all of it for planning queries over the log. Here the files are
written by pyarrow, and the commit is one object that is put on condition that nobody has put it before: an earlier
commit is never overwritten. For tables of one writing job, made by their contract (`lakehouse.delta.open_table`), so
that there is no schema to enforce and no feature that a writer would have to keep; a table with one is refused.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
from botocore.exceptions import ClientError

from lakehouse.delta_files import now_in_millis, put_data_file
from lakehouse.delta_log import DeltaFile, DeltaLogError, Snapshot, commit_key, read_commit, snapshot_of
from lakehouse.lake_tables import DATE

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from lakehouse.lake_tables import LakeTable
    from lakehouse.settings import Places

IsReplaced = Callable[[DeltaFile], bool]

_KEPT_FEATURES: Final = {"appendOnly", "invariants", "changeDataFeed"}
"""What the tables' contracts lead to: whole files removed and added are their own change data."""
_FEATURES_BY_NAME: Final = 7
_FEATURES_SINCE: Final = {"columnMapping": 5, "identityColumns": 6}
"""By writer version. Versions 3 and 4 also bring constraints and generated columns, which no contract has."""
_RECURRING: Final = ["kind", "track_genre", "run_id"]
"""Columns of small tables whose values recur."""
_TRIES: Final = 10


@dataclass
class Replacement:
    """Rows that shall be a table's, or those of some of its partitions, from the next commit on.

    Attributes:
        s3: S3.
        table: The table.
        places: Where it lies.
        base: The table as the rows' writer has found it.
    """

    s3: S3Client
    table: LakeTable
    places: Places
    base: Snapshot
    _added: list[dict[str, Any]] = field(default_factory=list)

    def put(self, rows: pa.Table, day: date | None = None) -> None:
        """Write rows as a file that no version of the table has before `commit`; none for no rows.

        Args:
            rows: All columns of the table, by its contract's types.
            day: Of a table kept by date: the date that they are of.
        """
        if rows.num_rows:
            partition = {} if day is None else {DATE: day.isoformat()}
            prefix = self.table.prefix
            self.take(put_data_file(self.s3, self._bucket, prefix, rows, partition=partition, recurring=_RECURRING))

    def take(self, added: dict[str, Any]) -> None:
        """Take a file that `put_data_file` has written elsewhere, by its action."""
        self._added.append(added)

    def commit(
        self, is_replaced: IsReplaced, *, about: dict[str, Any], transaction: tuple[str, int] | None = None
    ) -> int | None:
        """Commit what was put in place of all rows of some files.

        Args:
            is_replaced: Tells the files by their partitions: `of_dates`, `everything`.
            about: What the commit says of itself, as `lakehouse.delta.commit_metadata` does.
            transaction: An application and a version, which the commit records; a version that is not newer than the
                recorded one is not committed. `Snapshot.transactions` reads it back.

        Returns:
            The version that it has made; None when the transaction had been committed before, or a newer one.

        Raises:
            DeltaLogError: Others have committed as often as this has tried, or the table has a feature that is not
                kept here.
        """
        token = str(uuid.uuid4())
        before = self.base
        for _ in range(_TRIES):
            self._check(before)
            if transaction is not None and before.transactions.get(transaction[0], -1) >= transaction[1]:
                return None
            version = before.version + 1
            actions = [_info(about, token, self._added), *_transaction(transaction)]
            actions += [{"remove": _removed(file)} for file in before.files.values() if is_replaced(file)]
            actions += [{"add": action} for action in self._added]
            if self._put_commit(version, actions, token):
                return version
            # What has been committed since may hold the transaction, or other files of the dates.
            before = snapshot_of(self.s3, self.table, self.places)
        raise DeltaLogError(
            expected=f"to commit version {before.version + 1} of {self.table.uri(self.places)}",
            found=f"that somebody else had committed first, {_TRIES} times",
            do="Only one job writes this table: see that no other program does, then run this again.",
        )

    def _put_commit(self, version: int, actions: list[dict[str, Any]], token: str) -> bool:
        """Put the commit and tell whether it is this one that is there."""
        key = commit_key(self.table.prefix, version)
        body = "\n".join(json.dumps(action) for action in actions).encode()
        try:
            self.s3.put_object(Bucket=self._bucket, Key=key, Body=body, IfNoneMatch="*")
        except ClientError as error:
            if error.response["Error"]["Code"] not in {"PreconditionFailed", "ConditionalRequestConflict"}:
                raise
            # A put that was repeated because its answer was lost meets itself.
            told = [action["commitInfo"] for action in self._written(version) if "commitInfo" in action]
            return any(info.get("txnId") == token for info in told)
        return True

    def _written(self, version: int) -> list[dict[str, Any]]:
        try:
            return list(read_commit(self.s3, self._bucket, self.table.prefix, version))
        except self.s3.exceptions.NoSuchKey:
            # A conflict of two puts that were under way at once, of which neither has won.
            return []

    def _check(self, before: Snapshot) -> None:
        if others := _writer_features(before.protocol) - _KEPT_FEATURES:
            raise DeltaLogError(
                expected=f"{self.table.uri(self.places)} with no feature but {', '.join(sorted(_KEPT_FEATURES))}",
                found=", ".join(sorted(others)),
                do="Drop the feature (`ALTER TABLE … DROP FEATURE`), or make the table anew.",
            )

    @property
    def _bucket(self) -> str:
        return self.table.bucket(self.places)


def of_dates(dates: list[date]) -> IsReplaced:
    """Return what tells the files of some dates, in a table kept by date."""
    wanted = {day.isoformat() for day in dates}
    return lambda file: file.partition[DATE] in wanted


def everything(_file: DeltaFile) -> bool:
    """Tell that a file is replaced, whatever it holds."""
    return True


def _writer_features(protocol: dict[str, Any]) -> set[str]:
    version = protocol["minWriterVersion"]
    if version >= _FEATURES_BY_NAME:
        return set(protocol.get("writerFeatures") or ())
    return {name for name, since in _FEATURES_SINCE.items() if version >= since}


def _removed(file: DeltaFile) -> dict[str, Any]:
    return {
        "path": file.path,
        "deletionTimestamp": now_in_millis(),
        "dataChange": True,
        "extendedFileMetadata": True,
        "partitionValues": file.partition,
        "size": file.size,
    }


def _transaction(transaction: tuple[str, int] | None) -> list[dict[str, Any]]:
    if transaction is None:
        return []
    return [{"txn": {"appId": transaction[0], "version": transaction[1], "lastUpdated": now_in_millis()}}]


def _info(about: dict[str, Any], token: str, added: list[dict[str, Any]]) -> dict[str, Any]:
    rows = sum(json.loads(action["stats"])["numRecords"] for action in added)
    return {
        "commitInfo": {
            "timestamp": now_in_millis(),
            "operation": "WRITE",
            "operationParameters": {"mode": "Overwrite"},
            "isolationLevel": "Serializable",
            "isBlindAppend": False,
            "operationMetrics": {"numFiles": str(len(added)), "numOutputRows": str(rows)},
            "userMetadata": json.dumps(about, default=str, sort_keys=True),
            "engineInfo": "listenlake",
            "txnId": token,
        }
    }
