"""Serve the presentation tables: what they committed since they were last served goes to DynamoDB, progress last."""

from __future__ import annotations

from typing import Final

from batch_jobs.items import Serving, latest_changes, to_items
from lakehouse import layout
from lakehouse.delta import BEFORE_ANY, current_version, open_table, read_changes
from lakehouse.jobs import Run
from lakehouse.settings import KpiSettings
from lakehouse.tables import DAILY_GENRE_KPIS, DAILY_TOP_GENRES

_KEYS: Final = {DAILY_GENRE_KPIS.name: layout.DAILY_LISTENS, DAILY_TOP_GENRES.name: layout.TOP_GENRES}


def serve(run: Run[KpiSettings]) -> None:
    """Apply what the presentation tables have committed since they were last served."""
    served = (
        (DAILY_GENRE_KPIS, Serving(run.dynamodb, run.settings.daily_listens_table, {"listen_count": 0}, run.now)),
        (DAILY_TOP_GENRES, Serving(run.dynamodb, run.settings.top_genres_table, {"top_genres": []}, run.now)),
    )
    for table, serving in served:
        with run.report.phase("serve"):
            uri = layout.uri(run.settings.presentation_bucket, _KEYS[table.name])
            until = current_version(open_table(run.spark, table, uri))
            name = f"served#{table.name}"
            after = run.progress.read(name)
            after = BEFORE_ANY if after is None else after
            if until > after:
                changes = latest_changes(read_changes(run.spark, uri, after=after, until=until), table)
                run.lease.check()
                run.report.facts[f"{table.name}_served"] = serving.apply(to_items(changes, table))
                run.boundaries.passed(f"{table.name}_items_written")
                run.progress.advance(name, version=until, run_id=run.id)
    run.report.facts["served_at"] = run.now()
    run.boundaries.passed("served")
