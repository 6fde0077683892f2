"""The traps of runs that die or run in parts: the next run repairs it, and nothing is archived too early."""

from __future__ import annotations

from typing import Any

import pytest

from batch_jobs.archiving import Archive
from lakehouse import layout
from lakehouse.boundaries import Boundaries
from tests.integration.laboratory import Lab
from tests.integration.records import listen, without
from tests.integration.small_catalog import DAY, put_catalog

TRANSFORM_BOUNDARIES = ("merged", "rejects_written", "marked", "copied", "archived", "deleted")
KPI_BOUNDARIES = (
    "consumed_archived",
    "partials_committed",
    "kpis_derived",
    "daily_listens_committed",
    "top_genres_committed",
    "daily_listens_items_written",
    "top_genres_items_written",
    "served",
    "metrics_written",
    "progress_recorded",
)


def outcome(lab: Lab) -> dict[str, Any]:
    """Everything a run leaves that must not depend on how it came about."""
    versions = ("source_version", "run_id", "computed_at", "curated_version")
    return {
        "latest": lab.latest(),
        "consumed": without(lab.consumed(), "consumed_version"),
        "genres": without(lab.genre_items().values(), *versions),
        "charts": without(lab.chart_items().values(), *versions),
        "rejects": lab.rejects(),
        "pending": lab.keys(layout.PROCESSED),
        "archived": lab.keys(layout.ARCHIVES),
        "metrics": [(line["mode"], line["total_rows"], line["valid_rows"]) for line in lab.metrics()],
    }


@pytest.mark.parametrize("boundary", TRANSFORM_BOUNDARIES)
def test_a_crash_of_batch_transform_is_repaired_by_running_again(lab: Lab, boundary: str) -> None:
    put_catalog(lab)
    lab.put_batch(0, listen(1, "a", f"{DAY}T10:00:00", sequence=1), listen(9, "a", f"{DAY}T10:00:00", sequence=2))
    lost = f"{layout.PROCESSED}generation=0b6e/batch=0/attempt=lost/part-0.parquet"
    lab.put(lost, b"of an attempt that lost")
    assert lab.transform(kill_at=boundary)["crashed"]
    lab.transform()
    version = lab.latest_version()
    assert len(lab.latest()) == 1
    assert [row["reason"] for row in lab.rejects()] == ["unknown_user"]
    assert lab.keys(layout.PROCESSED) == []
    assert sorted(key.rsplit("/", 1)[1] for key in lab.keys(layout.ARCHIVES)) == [
        layout.MANIFEST,
        "part-0.snappy.parquet",
    ]
    lab.transform()
    assert lab.latest_version() == version


@pytest.mark.parametrize("boundary", KPI_BOUNDARIES)
def test_a_crash_of_kpi_transformation_is_repaired_by_running_again(lab: Lab, boundary: str) -> None:
    put_catalog(lab)
    lab.put_batch(0, listen(1, "a", f"{DAY}T10:00:00", sequence=1), listen(2, "c", f"{DAY}T10:00:00", sequence=2))
    lab.transform()
    assert lab.kpis(kill_at=boundary)["crashed"]
    lab.kpis()
    found = outcome(lab)
    assert found["metrics"] == [("incremental", "2", "2")]
    assert [row["event_id"] for row in found["consumed"]] == [row["event_id"] for row in found["latest"]]
    assert len(found["consumed"]) == 2
    assert [(item["track_genre"], item["listen_count"]) for item in found["genres"]] == [("pop", 1), ("rock", 1)]
    versions, items = lab.presentation_versions(), lab.genre_items()
    lab.kpis()
    lab.kpis(mode="recompute")
    assert (lab.presentation_versions(), lab.genre_items()) == (versions, items)


def test_steps_apart_do_what_both_do_together(lab: Lab) -> None:
    put_catalog(lab)
    lab.put_batch(0, listen(1, "a", f"{DAY}T10:00:00"))
    assert lab.transform(step="archive")["batches_merged"] == 0
    assert lab.keys(layout.ARCHIVES) == [], "nothing is archived before it is merged"
    lab.transform(step="transform")
    assert len(lab.latest()) == 1
    assert f"{layout.PROCESSED}generation=0b6e/batch=0/{layout.MANIFEST}" in lab.keys(layout.PROCESSED)
    lab.transform(step="archive")
    assert lab.keys(layout.PROCESSED) == []


def test_a_file_that_changed_after_it_was_merged_is_not_archived(lab: Lab) -> None:
    put_catalog(lab)
    manifest = lab.put_batch(0, listen(1, "a", f"{DAY}T10:00:00"))
    lab.put(manifest.files[0].key, b"other content")
    with pytest.raises(lab.s3.exceptions.ClientError, match="PreconditionFailed"):
        Archive(lab.s3, lab.places.raw_bucket, Boundaries()).store([manifest])
    assert manifest.id.manifest_key in lab.keys(layout.PROCESSED)
