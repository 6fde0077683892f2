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
from concurrent.futures import ThreadPoolExecutor

from delta.tables import DeltaTable
from pyspark.sql import DataFrame

from batch_jobs.archiving import Archive, quarantine
from batch_jobs.breaker import Breaker
from batch_jobs.dimension_cache import SONGS, USERS, Known, describe_change, is_new, mark_done, peek, refresh
from batch_jobs.dry_run import foresee, read_if_there
from batch_jobs.enrichment import ACCEPTED, DUPLICATE, curated_listens
from batch_jobs.inputs import read_by_hand, read_micro_batches, union
from batch_jobs.maintenance import maintain
from batch_jobs.merging import merge_new
from batch_jobs.objects import S3_CALLS_AT_ONCE
from batch_jobs.outcomes import Decided, decided, total_by_outcome
from batch_jobs.reentry import find_returning
from batch_jobs.rejects import replace_rejects
from lakehouse import layout
from lakehouse.batches import BY_HAND, Manifest, list_pending, list_transformed
from lakehouse.delta import commit_metadata, open_table
from lakehouse.delta_log import version_of
from lakehouse.jobs import Run, run_job
from lakehouse.lake_tables import LATEST
from lakehouse.settings import TransformSettings
from lakehouse.tables import CURATED_LISTENS

logger = logging.getLogger(__name__)


def run(run: Run[TransformSettings]) -> None:
    """Merge what waits, then archive what is merged, or only one of the two, or take care of the table."""
    if run.settings.step == "maintain":
        maintain(run)
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
    if run.settings.step != "archive":
        users, songs = _let_in(run, waiting=merging)
        if merging:
            transform(run, merging, users, songs)
    if archiving:
        with run.report.phase("archive"):
            run.report.facts["objects_archived"] = archive.store(archiving)
        run.report.facts["batches_archived"] = len(archiving)


def transform(run: Run[TransformSettings], manifests: list[Manifest], users: Known, songs: Known) -> None:
    """Merge batches and write their rejects; afterwards each carries its marker.

    Raises:
        BreakerError: Too much of the input is rejected; nothing was merged.
    """
    bucket = run.settings.raw_bucket
    breaker = _breaker(run)
    latest = open_table(run.spark, CURATED_LISTENS, LATEST.uri(run.settings))
    listens, unreadable = _read(run, manifests)
    with decided(listens, users=users.rows, songs=songs.rows, latest=latest.toDF(), report=run.report) as decision:
        counts = total_by_outcome(decision.counts)
        breaker.check(manifests, counts)
        _merge(run, latest, decision, _inputs(manifests))
        run.boundaries.passed("merged")
        with run.report.phase("rejects"):
            replace_rejects(run.s3, bucket, decision, [manifest.id.path for manifest in manifests])
            for manifest in unreadable:
                quarantine(run.s3, bucket, manifest)
        run.boundaries.passed("rejects_written")
    version = version_of(run.s3, LATEST, run.settings)
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
        unreadable_files=[manifest.files[0].key for manifest in unreadable],
    )


def _let_in(run: Run[TransformSettings], *, waiting: list[Manifest]) -> tuple[Known, Known]:
    """Return the dimensions, after what a new version of them makes known has come out of the rejects.

    It goes before what is new: those events came earlier. The versions are recorded last, so whatever a crash leaves
    undone is done by the next run.
    """
    with run.report.phase("dimensions"):
        users, songs = refresh(run, USERS), refresh(run, SONGS)
        fresh = [known for known in (users, songs) if is_new(run, known)]
    if not fresh:
        return users, songs
    latest = open_table(run.spark, CURATED_LISTENS, LATEST.uri(run.settings))
    with run.report.phase("dimensions"):
        changes = {known.source.name: describe_change(run, known, latest.toDF()) for known in fresh}
    logger.info("dimensions changed", extra={"changes": changes})
    run.report.facts["dimensions"] = changes
    returning = find_returning(run, users.rows, songs.rows, waiting=[manifest.id.path for manifest in waiting])
    if returning.batches:
        with decided(
            returning.deliveries, users=users.rows, songs=songs.rows, latest=latest.toDF(), report=run.report
        ) as decision:
            _merge(run, latest, decision, {"reentry": True, "batches": len(returning.batches)})
            run.boundaries.passed("reentry_merged")
            with run.report.phase("rejects"):
                replace_rejects(run.s3, run.settings.raw_bucket, decision, returning.batches)
            run.boundaries.passed("reentry_rejects_written")
        counts = total_by_outcome(decision.counts)
        run.report.facts["reentered"] = {name: counts.get(name, 0) for name in (ACCEPTED, DUPLICATE)}
        run.report.facts["table_version"] = version_of(run.s3, LATEST, run.settings)
    run.lease.check()
    for known in fresh:
        mark_done(run, known)
    return users, songs


def _merge(run: Run[TransformSettings], latest: DeltaTable, decision: Decided, inputs: dict[str, object]) -> None:
    if not total_by_outcome(decision.counts).get(ACCEPTED):
        return
    with run.report.phase("merge"):
        run.lease.check()
        with commit_metadata(run.spark, job=layout.TRANSFORM_JOB, run_id=run.id, **inputs):
            merge_new(latest, curated_listens(decision.outcomes), decision.spans)


def _foresee(run: Run[TransformSettings], merging: list[Manifest], archiving: list[Manifest]) -> None:
    users, songs = peek(run, USERS), peek(run, SONGS)
    latest = read_if_there(run.spark, CURATED_LISTENS, LATEST.uri(run.settings))
    listens, _ = _read(run, merging)
    with decided(listens, users=users.rows, songs=songs.rows, latest=latest, report=run.report) as decision:
        would = foresee(decision.counts, merging, archiving, _breaker(run))
    if run.settings.step != "archive" and any(is_new(run, known) for known in (users, songs)):
        waiting = [manifest.id.path for manifest in merging]
        would["come_back"] = find_returning(run, users.rows, songs.rows, waiting=waiting).count()
    run.report.facts.update(dry_run=True, would=would)


def _breaker(run: Run[TransformSettings]) -> Breaker:
    return Breaker(rate=run.settings.breaker_rate, minimum=run.settings.breaker_minimum)


def _already_merged(run: Run[TransformSettings], archive: Archive, pending: list[Manifest]) -> list[Manifest]:
    marked = list_transformed(run.s3, run.settings.raw_bucket)
    unmarked = [manifest for manifest in pending if manifest.id.transformed_key not in marked]
    with ThreadPoolExecutor(S3_CALLS_AT_ONCE) as pool:
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

    with ThreadPoolExecutor(S3_CALLS_AT_ONCE) as pool:
        list(pool.map(put, manifests))


if __name__ == "__main__":
    code = run_job(TransformSettings, run, arguments=sys.argv[1:], environment=os.environ)
    if code:
        sys.exit(code)
