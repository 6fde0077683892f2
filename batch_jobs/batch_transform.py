"""Glue job `batch_transform`: complete batches in, curated listens out, then the batches go to the archive.

Order of commits: one MERGE into `latest/`, the rejects, a marker per batch, copies to `archives/`, deletions with the
manifest last. A crash between any two of them is repaired by running again, and running again changes nothing else.

    spark-submit batch_jobs/batch_transform.py --step transform
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date

from pyspark.sql import DataFrame

from batch_jobs.archiving import COPY_THREADS, Archive, quarantine
from batch_jobs.breaker import Breaker
from batch_jobs.dimensions import Dimension, read_songs, read_users
from batch_jobs.dry_run import foresee, read_if_there
from batch_jobs.enrichment import ACCEPTED, DUPLICATE, curated_listens, with_dimensions, with_outcome
from batch_jobs.inputs import read_by_hand, read_micro_batches, union
from batch_jobs.maintenance import maintain, owned_by_transform
from batch_jobs.merging import existing_listens, merge_new
from batch_jobs.outcomes import OutcomesByDate, count_outcomes, rows_by_date, total_by_outcome
from batch_jobs.rejects import replace_malformed_rows, replace_rejects
from lakehouse import layout
from lakehouse.batches import BY_HAND, Manifest, list_pending, list_transformed
from lakehouse.delta import commit_metadata, current_version, open_table
from lakehouse.jobs import Run, run_job
from lakehouse.settings import TransformSettings
from lakehouse.tables import CURATED_LISTENS

logger = logging.getLogger(__name__)


def run(run: Run[TransformSettings]) -> None:
    """Merge what waits, then archive what is merged, or only one of the two, or take care of the table."""
    if run.settings.step == "maintain":
        maintain(run, owned_by_transform(run.settings))
        return
    bucket = run.settings.raw_bucket
    archive = Archive(run.s3, bucket, run.boundaries)
    with run.report.phase("list"):
        pending = list_pending(run.s3, bucket)
        done = _already_merged(run, archive, pending)
        waiting = [manifest for manifest in pending if manifest.id not in {one.id for one in done}]
    run.report.facts.update(step=run.settings.step, batches_pending=len(pending), batches_merged=0)
    merging = waiting if run.settings.step != "archive" else []
    archiving = done + merging if run.settings.step != "transform" else []
    if run.settings.dry_run == "true":
        _foresee(run, merging, archiving)
        return
    if merging:
        transform(run, merging)
    if archiving:
        with run.report.phase("archive"):
            run.report.facts["objects_archived"] = archive.store(archiving)
        run.report.facts["batches_archived"] = len(archiving)


def transform(run: Run[TransformSettings], manifests: list[Manifest]) -> None:
    """Merge batches and write their rejects; afterwards each carries its marker.

    Raises:
        BreakerError: Too much of the input is rejected; nothing was merged.
    """
    bucket = run.settings.raw_bucket
    breaker = _breaker(run)
    latest = open_table(run.spark, CURATED_LISTENS, _latest_uri(run))
    with _decided(run, manifests, latest.toDF()) as decided:
        counts = total_by_outcome(decided.counts)
        breaker.check(manifests, counts)
        if counts.get(ACCEPTED):
            with run.report.phase("merge"):
                run.lease.check()
                with commit_metadata(run.spark, job=layout.TRANSFORM_JOB, run_id=run.id, **_inputs(manifests)):
                    merge_new(latest, curated_listens(decided.outcomes), decided.dates)
        run.boundaries.passed("merged")
        with run.report.phase("rejects"):
            replace_rejects(run.s3, bucket, decided.outcomes, [manifest.id.path for manifest in manifests])
            replace_malformed_rows(run.s3, bucket, "users", decided.users)
            replace_malformed_rows(run.s3, bucket, "songs", decided.songs)
            for manifest in decided.unreadable:
                quarantine(run.s3, bucket, manifest)
        run.boundaries.passed("rejects_written")
    version = current_version(latest)
    _mark(run, manifests, version)
    run.boundaries.passed("marked")
    run.report.facts.update(
        received=sum(counts.values()),
        accepted=counts.pop(ACCEPTED, 0),
        duplicates=counts.pop(DUPLICATE, 0),
        rejected=counts,
        table_version=version,
        batches_merged=len(manifests),
        batches=[manifest.id.path for manifest in manifests],
        unreadable_files=[manifest.files[0].key for manifest in decided.unreadable],
    )


def _foresee(run: Run[TransformSettings], merging: list[Manifest], archiving: list[Manifest]) -> None:
    latest = read_if_there(run.spark, CURATED_LISTENS, _latest_uri(run))
    with _decided(run, merging, latest) as decided:
        would = foresee(decided.counts, merging, archiving, _breaker(run))
    run.report.facts.update(dry_run=True, would=would)


@dataclass(frozen=True, kw_only=True)
class _Decided:
    """What a run has made of its batches, before anything is written.

    Attributes:
        outcomes: One row per delivery, with its outcome.
        counts: The same, counted.
        dates: Every listen_date among them.
        unreadable: The batches that are a file that can't be read.
        users: The users they were joined with.
        songs: The songs they were joined with.
    """

    outcomes: DataFrame
    counts: OutcomesByDate
    dates: list[date]
    unreadable: list[Manifest]
    users: Dimension
    songs: Dimension


@contextmanager
def _decided(run: Run[TransformSettings], manifests: list[Manifest], latest: DataFrame) -> Iterator[_Decided]:
    """Decide what becomes of every delivery, given the listens merged so far."""
    with run.report.phase("dimensions"):
        users = read_users(run.spark, run.s3, run.settings.raw_bucket)
        songs = read_songs(run.spark, run.s3, run.settings.raw_bucket)
    with run.report.phase("read"):
        listens, unreadable = _read(run, manifests)
        received = rows_by_date(listens)
        dates = [day for day in received if day is not None]
    enriched = with_dimensions(listens, users=users.rows, songs=songs.rows)
    outcomes = with_outcome(enriched, existing=existing_listens(latest, dates)).persist()
    try:
        with run.report.phase("enrich"):
            counts = count_outcomes(outcomes, expected=sum(received.values()))
        yield _Decided(outcomes=outcomes, counts=counts, dates=dates, unreadable=unreadable, users=users, songs=songs)
    finally:
        outcomes.unpersist()


def _breaker(run: Run[TransformSettings]) -> Breaker:
    return Breaker(rate=run.settings.breaker_rate, minimum=run.settings.breaker_minimum)


def _latest_uri(run: Run[TransformSettings]) -> str:
    return layout.uri(run.settings.curated_bucket, layout.LATEST)


def _already_merged(run: Run[TransformSettings], archive: Archive, pending: list[Manifest]) -> list[Manifest]:
    marked = list_transformed(run.s3, run.settings.raw_bucket)
    unmarked = [manifest for manifest in pending if manifest.id.transformed_key not in marked]
    with ThreadPoolExecutor(COPY_THREADS) as pool:
        held = list(pool.map(archive.holds, [manifest.id for manifest in unmarked]))
    waiting = {manifest.id for manifest, is_held in zip(unmarked, held, strict=True) if not is_held}
    return [manifest for manifest in pending if manifest.id not in waiting]


def _read(run: Run[TransformSettings], manifests: list[Manifest]) -> tuple[DataFrame, list[Manifest]]:
    """Return one row per delivery of these batches, and the batches that are a file that can't be read."""
    bucket = run.settings.raw_bucket
    micro_batches = [manifest for manifest in manifests if manifest.id.generation != BY_HAND]
    frames = [read_micro_batches(run.spark, bucket, micro_batches)]
    unreadable = []
    for manifest in manifests:
        if manifest.id.generation == BY_HAND:
            frame = read_by_hand(run.spark, run.s3, bucket, manifest)
            if frame is None:
                unreadable.append(manifest)
            else:
                frames.append(frame)
    return union(frames), unreadable


def _inputs(manifests: list[Manifest]) -> dict[str, object]:
    """What the commit says about its input; bounded, however many batches there are."""
    return {"batches": len(manifests), "first": manifests[0].id.path, "last": manifests[-1].id.path}


def _mark(run: Run[TransformSettings], manifests: list[Manifest], version: int) -> None:
    body = json.dumps({"run_id": run.id, "table_version": version}).encode()

    def put(manifest: Manifest) -> None:
        run.s3.put_object(Bucket=run.settings.raw_bucket, Key=manifest.id.transformed_key, Body=body)

    with ThreadPoolExecutor(COPY_THREADS) as pool:
        list(pool.map(put, manifests))


if __name__ == "__main__":
    code = run_job(TransformSettings, run, arguments=sys.argv[1:], environment=os.environ)
    if code:
        sys.exit(code)
