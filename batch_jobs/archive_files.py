"""Write the consumed listens to files of `archive/`, in the tasks that read them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from lakehouse.delta_files import put_data_file
from lakehouse.python_workers import begin_task
from lakehouse.tasks import in_pieces, s3_of_task

ADDED: Final = pa.schema([("added", pa.string())])
ADDED_DDL: Final = "added STRING"
BYTES_PER_FILE: Final = 128 * 1024 * 1024
"""Of rows in memory; a task holds as many, and their file is about a tenth."""
_RECURRING: Final = [
    *("listen_date", "track_id", "platform", "user_age", "user_country", "track_name", "artists", "album_name"),
    *("track_genre", "popularity", "duration_ms", "explicit", "arrived_at"),
]


@dataclass(frozen=True)
class ArchiveFiles:
    """The files of one consumption.

    Attributes:
        bucket: The bucket of `archive/`.
        prefix: Its folder.
        consumed_version: The partition that they are of.
    """

    bucket: str
    prefix: str
    consumed_version: int

    def write_in_task(self, listens: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Write listens, columns of `CURATED_LISTENS`, and yield the log's action for each file, as `ADDED`."""
        begin_task()
        for piece, _ in in_pieces(listens, enough=BYTES_PER_FILE, size_of=lambda batch: batch.nbytes):
            yield self._put(piece)

    def _put(self, listens: pa.Table) -> pa.RecordBatch:
        added = put_data_file(
            s3_of_task(),
            self.bucket,
            self.prefix,
            listens,
            partition={"consumed_version": str(self.consumed_version)},
            recurring=_RECURRING,
        )
        return pa.RecordBatch.from_pylist([{"added": json.dumps(added)}], ADDED)
