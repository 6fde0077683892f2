"""Table care: fewer files, the same rows, and nobody who follows the tables notices."""

from __future__ import annotations

from datetime import date

from batch_jobs.maintenance import crowded_dates
from lakehouse import layout
from lakehouse.delta_log import DeltaFile, Snapshot, read_snapshot
from tests.integration.laboratory import Lab
from tests.integration.records import listen, song

OLD, DAY, LATER = "2024-06-20", "2024-06-25", "2024-06-26"


def test_care_changes_no_row_and_confuses_no_reader_of_the_change_feed(lab: Lab) -> None:
    lab.put_users(1)
    lab.put_songs(song(1, "a", genre="rock"), song(2, "b", genre="pop"))
    for number in range(3):
        days = (OLD, DAY, LATER)
        lab.put_batch(number, *[listen(1, "ab"[number % 2], f"{day}T10:0{number}:00", sequence=number) for day in days])
        lab.transform()
        if number == 1:
            lab.kpis()
    rows, files = lab.latest(), {day: lab.latest_files(day) for day in (OLD, DAY, LATER)}
    assert (len(rows), len(files[OLD])) == (9, 3)

    facts = lab.transform(step="maintain", retain_hours=0.0)["transformed_data_latest"]
    assert facts["dates_compacted"] == 1
    assert lab.latest() == rows
    assert len(lab.latest_files(OLD)) == 1
    assert {day: lab.latest_files(day) for day in (DAY, LATER)} == {day: files[day] for day in (DAY, LATER)}
    assert facts["objects_deleted"] == 0, "the change feed still has to give the third batch"
    snapshot = read_snapshot(lab.s3, lab.places.curated_bucket, layout.LATEST)
    assert snapshot is not None
    assert snapshot.checkpoint == snapshot.version == facts["version"]
    assert set(snapshot.files) == {layout.LATEST + path for day in days for path in lab.latest_files(day)}

    lab.kpis()
    assert lab.metrics()[-1]["total_rows"] == "3", "the compaction is no change"
    assert len(lab.consumed()) == 9
    assert {key: item["listen_count"] for key, item in lab.genre_items().items()} == {
        **{(day, "rock"): 2 for day in (OLD, DAY, LATER)},
        **{(day, "pop"): 1 for day in (OLD, DAY, LATER)},
    }

    facts = lab.transform(step="maintain", retain_hours=0.0)["transformed_data_latest"]
    assert (facts["dates_compacted"], facts["objects_deleted"] >= 3) == (0, True)
    assert lab.latest() == rows
    items = lab.genre_items()
    kept = lab.kpis(mode="maintain", retain_hours=0.0)
    assert kept["daily_listens"]["files"] <= kept["daily_listens"]["files_before"]
    assert kept["daily_listens"]["checkpoint"] == kept["daily_listens"]["version"]
    again = lab.kpis()
    assert again.get("daily_listens_served", {}) == {}
    lab.kpis(mode="recompute")
    assert lab.genre_items() == items


def test_only_settled_dates_with_too_many_files_are_compacted() -> None:
    def snapshot(**files: list[int]) -> Snapshot:
        named = [(day.replace("_", "-")[1:], size) for day, sizes in files.items() for size in sizes]
        return Snapshot(
            1, {str(i): DeltaFile(str(i), size, {"listen_date": day}, str(i)) for i, (day, size) in enumerate(named)}
        )

    gigabyte = 1 << 30
    found = snapshot(
        d2024_01_01=[1, 1],
        d2024_01_02=[1],
        d2024_01_03=[gigabyte, gigabyte - 1],
        d2024_01_04=[gigabyte, gigabyte, 1, 1],
        d2024_01_05=[1, 1],
        d2024_01_06=[1, 1],
    )
    assert crowded_dates(found, before=date(2024, 2, 1)) == [date(2024, 1, 1), date(2024, 1, 4)]
    assert crowded_dates(found, before=date(2024, 1, 4)) == [date(2024, 1, 1)]
    assert crowded_dates(snapshot(d2024_01_01=[1, 1], d2024_01_02=[1, 1]), before=date(2024, 2, 1)) == []
