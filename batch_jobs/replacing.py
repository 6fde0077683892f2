"""Replace files of a table in one commit that says who made it, under the job's lease."""

from __future__ import annotations

from datetime import date
from typing import Any, Final

import pyarrow as pa

from lakehouse.delta import write_checkpoint
from lakehouse.delta_commits import IsReplaced, Replacement
from lakehouse.delta_log import Snapshot
from lakehouse.jobs import Run
from lakehouse.lake_tables import LakeTable
from lakehouse.settings import KpiSettings

COMMITS_PER_CHECKPOINT: Final = 10
"""As often as Delta does it by itself."""


class Replacing:
    """What a run is about to commit to one table."""

    def __init__(self, run: Run[KpiSettings], table: LakeTable, base: Snapshot) -> None:
        """Begin.

        Args:
            run: The run.
            table: The table.
            base: The table as the run has found it.
        """
        self._run = run
        self._table = table
        self._replacement = Replacement(run.s3, table, run.settings, base)

    def put(self, rows: pa.Table, day: date | None = None) -> None:
        """Write a file that counts from `commit` on; see `Replacement.put`."""
        self._replacement.put(rows, day)

    def take(self, added: dict[str, Any]) -> None:
        """Take a file that was written elsewhere; see `Replacement.take`."""
        self._replacement.take(added)

    def commit(
        self, is_replaced: IsReplaced, *, curated_version: int, transaction: tuple[str, int] | None = None
    ) -> None:
        """Commit what was put in place of some files, unless this run was overtaken.

        Args:
            is_replaced: See `Replacement.commit`.
            curated_version: Version of the curated table that the rows stand for.
            transaction: See `Replacement.commit`.
        """
        self._run.lease.check()
        about = {"job": self._run.settings.program, "run_id": self._run.id, "curated_version": curated_version}
        version = self._replacement.commit(is_replaced, about=about, transaction=transaction)
        if version and version % COMMITS_PER_CHECKPOINT == 0:
            write_checkpoint(self._run.spark, self._table.uri(self._run.settings))
