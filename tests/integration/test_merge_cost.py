"""What a merge reads and rewrites: nothing of other dates, and of its own date only files that may hold its listens."""

from __future__ import annotations

from typing import Any

import pytest
from delta.tables import DeltaTable

from batch_jobs import merging
from lakehouse import layout
from tests.integration.laboratory import Lab
from tests.integration.records import listen, song

OLD, DAY = "2024-06-24", "2024-06-25"


def last_merge(lab: Lab) -> dict[str, int]:
    """Delta's own metrics of the newest commit."""
    latest = DeltaTable.forPath(lab.spark, layout.uri(lab.places.curated_bucket, layout.LATEST))
    row: Any = latest.history(1).select("operation", "operationMetrics").first()
    assert row["operation"] == "MERGE"
    return {name: int(value) for name, value in row["operationMetrics"].items()}


def test_a_merge_rewrites_no_file_and_opens_only_those_that_may_hold_its_listens(lab: Lab) -> None:
    lab.put_users(1)
    lab.put_songs(song(1, "a"))
    times = {1: f"{OLD}T20:00:00", 2: f"{DAY}T08:00:00", 3: f"{DAY}T20:00:00"}
    before: list[set[str]] = []
    for number, time in times.items():
        lab.put_batch(number, listen(1, "a", time, sequence=number))
        lab.transform()
        before.append(lab.latest_files(OLD) | lab.latest_files(DAY))
    bucket = lab.places.curated_bucket
    closed = before[1]
    assert (len(closed), len(before[2])) == (2, 3)
    kept = {path: lab.read(layout.LATEST + path, bucket=bucket) for path in closed}
    for path in closed:
        # Whoever opens one of them now fails.
        lab.put(layout.LATEST + path, b"sealed", bucket=bucket)

    lab.put_batch(
        4,
        listen(1, "a", times[3], sequence=3),
        listen(1, "a", f"{DAY}T20:00:00.000001", sequence=4),
        listen(1, "a", f"{DAY}T21:00:00", sequence=5),
    )
    facts = lab.transform()
    assert (facts["accepted"], facts["duplicates"]) == (2, 1)
    metrics = last_merge(lab)
    assert metrics["numTargetRowsInserted"] == 2
    rewritten = ("numTargetFilesRemoved", "numTargetBytesRemoved", "numTargetRowsCopied", "numTargetRowsUpdated")
    assert {name: metrics[name] for name in rewritten} == dict.fromkeys(rewritten, 0)
    for path, body in kept.items():
        lab.put(layout.LATEST + path, body, bucket=bucket)
    assert len(lab.latest()) == 5


def test_a_date_that_several_tasks_write_takes_each_listen_once(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "ROWS_OF_A_TASK", 1)
    lab.put_users(1)
    lab.put_songs(song(1, "a"))
    listens = [listen(1, "a", f"{day}T20:00:{second:02}") for day in (OLD, DAY) for second in range(20)]
    lab.put_batch(0, *listens)
    assert lab.transform()["accepted"] == 40
    lab.put_batch(1, *listens, listen(1, "a", f"{DAY}T21:00:00", sequence=1))
    facts = lab.transform()
    assert (facts["accepted"], facts["duplicates"]) == (1, 40)
    assert len({row["event_id"] for row in lab.latest()}) == len(lab.latest()) == 41
    assert last_merge(lab)["numTargetFilesRemoved"] == 0
