"""Serving as a whole: only what changed is written, a rebuild makes the tables anew, and no old version survives it."""

from __future__ import annotations

from typing import Any

import pytest
from boto3.dynamodb.types import TypeSerializer
from delta.tables import DeltaTable

from batch_jobs.objects import delete_all
from batch_jobs.serving import ServingError
from lakehouse import layout
from tests.integration.laboratory import Lab
from tests.integration.records import listen, song, without

DAY, LATER = "2024-06-25", "2024-06-26"
PROVENANCE = ("source_version", "run_id", "computed_at", "curated_version")


def published(lab: Lab) -> None:
    """Two dates, three genres on the first of them, served by two runs."""
    lab.put_users(1, 2)
    lab.put_songs(*[song(number, track, genre=f"genre {track}") for number, track in enumerate("abc")])
    lab.put_batch(0, *[listen(1, track, f"{DAY}T10:00:00", sequence=track) for track in "abc"])
    lab.transform()
    lab.kpis()
    lab.put_batch(1, listen(2, "a", f"{DAY}T11:00:00", sequence=5), listen(2, "a", f"{LATER}T11:00:00", sequence=6))
    lab.transform()
    assert lab.kpis()["daily_listens_served"] == {"written": 2}, "of four genres two have changed"


def put_item(lab: Lab, item: dict[str, Any], **changed: Any) -> None:
    serialize = TypeSerializer().serialize
    values = {name: serialize(value) for name, value in {**item, **changed}.items()}
    lab.dynamodb.put_item(TableName=lab.places.daily_listens_table, Item=values)


def test_a_rebuild_repairs_lost_changed_and_foreign_items_and_old_versions_do_not_win(lab: Lab) -> None:
    published(lab)
    wanted = without(lab.genre_items().values(), *PROVENANCE)
    charts = without(lab.chart_items().values(), *PROVENANCE)
    items = list(lab.genre_items().values())
    put_item(lab, items[0], listen_count=77)
    put_item(lab, items[1], listen_count=78, source_version=900)
    put_item(lab, items[2], track_genre="never heard", source_version=901)
    key = {"track_genre": {"S": items[3]["track_genre"]}, "listen_date": {"S": items[3]["listen_date"]}}
    lab.dynamodb.delete_item(TableName=lab.places.daily_listens_table, Key=key)

    facts = lab.kpis(mode="rebuild")
    assert facts["daily_listens_served"] == {"written": 4, "tombstoned": 1}
    assert facts["top_genres_served"] == {"written": 2}
    served = lab.genre_items()
    ghost = served.pop((items[2]["listen_date"], "never heard"))
    assert (ghost["deleted"], ghost["listen_count"]) == (True, 0)
    assert without(served.values(), *PROVENANCE) == wanted
    assert without(lab.chart_items().values(), *PROVENANCE) == charts
    assert {item["source_version"] for item in [*served.values(), ghost]} == {902}

    assert "daily_listens_served" not in lab.kpis(), "nothing changed, so nothing is written"
    lab.put_batch(2, listen(1, "b", f"{DAY}T12:00:00", sequence=7))
    lab.transform()
    assert lab.kpis()["daily_listens_served"] == {"written": 1}, "what changes afterwards is newer still"
    assert lab.genre_items()[DAY, "genre b"]["listen_count"] == 2
    live = [item for item in lab.genre_items().values() if not item.get("deleted")]
    rows = lab.delta_rows(lab.places.presentation_bucket, layout.DAILY_LISTENS)
    assert len(live) == len(rows) == 4, "the item count reconciles"


def test_a_row_that_a_commit_only_rewrites_keeps_what_an_earlier_unserved_commit_made_of_it(lab: Lab) -> None:
    published(lab)
    before = lab.genre_items()
    lab.put_batch(2, listen(2, "b", f"{DAY}T12:00:00", sequence=7))
    lab.transform()
    assert lab.kpis(kill_at="top_genres_committed")["crashed"]
    assert lab.genre_items() == before, "nothing was served yet"
    lab.put_batch(3, listen(2, "c", f"{DAY}T12:00:00", sequence=8))
    lab.transform()
    assert lab.kpis()["daily_listens_served"] == {"written": 2}
    served = lab.genre_items()
    assert {genre: served[DAY, genre]["listen_count"] for genre in ("genre a", "genre b", "genre c")} == {
        "genre a": 2,
        "genre b": 2,
        "genre c": 2,
    }
    versions = {genre: served[DAY, genre]["source_version"] for genre in ("genre a", "genre b", "genre c")}
    assert versions["genre a"] == before[DAY, "genre a"]["source_version"], "its row was rewritten and not changed"
    assert versions["genre b"] < versions["genre c"], "each carries the commit that changed it"


def test_a_rebuild_that_is_interrupted_is_finished_by_the_next_run(lab: Lab) -> None:
    published(lab)
    before = lab.genre_items()
    put_item(lab, next(iter(before.values())), listen_count=77, source_version=900)
    for boundary in ("rebuild_begun", "daily_listens_items_written"):
        assert lab.kpis(mode="rebuild", kill_at=boundary)["crashed"]
    lab.kpis()
    assert without(lab.genre_items().values(), *PROVENANCE) == without(before.values(), *PROVENANCE)
    assert len({item["source_version"] for item in lab.genre_items().values()}) == 1
    assert "daily_listens_served" not in lab.kpis()


def test_another_table_in_place_of_the_served_one_is_an_error_until_it_is_rebuilt(lab: Lab) -> None:
    published(lab)
    before = lab.genre_items()
    bucket = lab.places.presentation_bucket
    delete_all(lab.s3, bucket, lab.keys(layout.DAILY_LISTENS, bucket=bucket))
    with pytest.raises(ServingError, match="listenlake kpis rebuild"):
        lab.kpis(mode="recompute", repair="true")
    assert lab.genre_items() == before, "nothing was served from it"
    lab.kpis(mode="rebuild")
    after = lab.genre_items()
    assert without(after.values(), *PROVENANCE) == without(before.values(), *PROVENANCE)
    assert min(item["source_version"] for item in after.values()) > max(
        item["source_version"] for item in before.values()
    )


def test_the_first_run_after_lost_progress_serves_everything_anew(lab: Lab, spark: Any) -> None:
    published(lab)
    before = lab.genre_items()
    key: Any = {"pk": {"S": "progress"}, "sk": {"S": "served#daily_listens"}}
    lab.dynamodb.delete_item(TableName=lab.places.control_table, Key=key)
    uri = layout.uri(lab.places.presentation_bucket, layout.DAILY_LISTENS)
    DeltaTable.forPath(spark, uri).delete("track_genre = 'genre c'")
    assert lab.kpis()["daily_listens_served"] == {"written": 3, "tombstoned": 1}
    after = lab.genre_items()
    assert after.pop((DAY, "genre c"))["deleted"] is True
    before.pop((DAY, "genre c"))
    assert without(after.values(), *PROVENANCE) == without(before.values(), *PROVENANCE)
