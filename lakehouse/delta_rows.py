"""Read the rows of a small Delta table without Spark, which plans such a query for longer than this takes to read it.

For tables with a row per date and genre, or fewer: the rows of some dates are held in memory.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from lakehouse.delta_log import DeltaFile, DeltaLogError, Snapshot, changed_files
from lakehouse.lake_tables import DATE

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from lakehouse.lake_tables import LakeTable
    from lakehouse.settings import Places

Row = dict[str, Any]

_CHANGE: Final = "_change_type"
_FILES_AT_ONCE: Final = 8


@dataclass(frozen=True)
class Change:
    """A row that a commit has written or taken away.

    Attributes:
        row: The table's columns.
        kind: Delta's `_change_type`: insert, delete, update_preimage or update_postimage.
        version: The commit.
    """

    row: Row
    kind: str
    version: int


@dataclass(frozen=True)
class SmallTable:
    """Reads one table.

    Attributes:
        s3: S3.
        table: The table.
        places: Where it lies.
    """

    s3: S3Client
    table: LakeTable
    places: Places

    def read(self, snapshot: Snapshot, dates: list[date] | None = None) -> Iterator[pa.Table]:
        """Yield the rows of a version, file by file: all of them or, of a table kept by date, those of some dates."""
        wanted = None if dates is None else {day.isoformat() for day in dates}
        files = [file for file in snapshot.files.values() if wanted is None or file.partition[DATE] in wanted]
        for rows in self._read(files):
            # A MERGE leaves an empty `_change_type` in its data files.
            yield rows.select([name for name in rows.column_names if name != _CHANGE])

    def changes(self, *, after: int, until: int) -> Iterator[Change]:
        """Yield what commits (`after`, `until`] have changed, in their order: Delta's change data feed.

        Raises:
            DeltaLogError: A commit, or a file of one, is no longer there.
        """
        changed = list(changed_files(self.s3, self._bucket, self.table.prefix, after=after, until=until))
        for one, rows in zip(changed, self._read([each.file for each in changed]), strict=True):
            for row in rows.to_pylist():
                kind = row.pop(_CHANGE, None)
                yield Change(row, one.kind or kind, one.version)

    def _read(self, files: list[DeltaFile]) -> Iterator[pa.Table]:
        with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
            for first in range(0, len(files), _FILES_AT_ONCE):
                yield from pool.map(self._rows_of, files[first : first + _FILES_AT_ONCE])

    def _rows_of(self, file: DeltaFile) -> pa.Table:
        try:
            body = self.s3.get_object(Bucket=self._bucket, Key=file.key)["Body"].read()
        except self.s3.exceptions.NoSuchKey as error:
            raise DeltaLogError(
                expected=f"the file {file.key}, which the log of {self.table.uri(self.places)} names",
                found="no such object",
                do="Something other than the jobs has deleted it: put it back, then run this again.",
            ) from error
        rows = pq.read_table(io.BytesIO(body))
        # Delta keeps the value of a partition in the log, as text.
        for name, day in file.partition.items():
            rows = rows.append_column(name, pa.repeat(pa.scalar(date.fromisoformat(day or "")), rows.num_rows))
        return rows

    @property
    def _bucket(self) -> str:
        return self.table.bucket(self.places)
