"""The copy of what was consumed: each listen once, whole, under the curated version that its run went up to."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from delta.tables import DeltaTable
from pyspark.sql import SparkSession

from batch_jobs import replacing
from lakehouse.delta_log import snapshot_of
from lakehouse.lake_tables import ARCHIVE, LATEST
from lakehouse.tables import CURATED_LISTENS
from tests.integration.laboratory import Lab
from tests.integration.records import listen, without
from tests.integration.small_catalog import DAY, LATER, put_catalog, run_both


def test_the_archive_holds_each_consumed_listen_once_and_whole(
    lab: Lab, spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replacing, "COMMITS_PER_CHECKPOINT", 1)
    put_catalog(lab)
    told: dict[str, Any] = {
        "played_ms": 5,
        "platform": "web",
        "session_id": "s",
        "extra": [("mood", '"calm"'), ("x", "1")],
    }
    lab.put_batch(0, listen(1, "a", f"{DAY}T10:00:00.000001", **told), listen(2, "c", f"{LATER}T23:59:59", sequence=2))
    run_both(lab)
    first = lab.latest_version()
    assert Counter(row["consumed_version"] for row in lab.consumed()) == {str(first): 2}

    # A run that has copied its listens and died, and one that goes further.
    lab.put_batch(1, listen(3, "a", f"{DAY}T11:00:00", sequence=3))
    lab.transform()
    assert lab.kpis(kill_at="consumed_archived")["crashed"]
    assert len(lab.consumed()) == 3
    lab.put_batch(2, listen(3, "b", f"{DAY}T12:00:00", sequence=4))
    run_both(lab)
    newest = lab.latest_version()
    assert Counter(row["consumed_version"] for row in lab.consumed()) == {str(first): 2, str(newest): 2}
    assert without(lab.consumed(), "consumed_version") == lab.latest()

    # To Spark it is a table like any other, column by column.
    names = CURATED_LISTENS.columns
    archived, latest = (
        spark.read.format("delta").load(one.uri(lab.places)).select(*names) for one in (ARCHIVE, LATEST)
    )
    assert archived.schema == latest.schema
    assert archived.sort("listen_time").toArrow().to_pylist() == latest.sort("listen_time").toArrow().to_pylist()

    # Listens that are gone later were consumed all the same; a run that only finds them gone copies none.
    consumed = lab.consumed()
    DeltaTable.forPath(spark, LATEST.uri(lab.places)).delete("user_id = 3")
    lab.kpis()
    assert lab.consumed() == consumed
    kept = snapshot_of(lab.s3, ARCHIVE, lab.places)
    assert kept.transactions == {"consumed": lab.latest_version()}
    assert kept.checkpoint == kept.version == 4, "Delta only logs that a checkpoint has failed"
