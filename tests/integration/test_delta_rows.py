"""Delta tables read without Spark: the same rows and the same changes as Spark reads, whatever has written them."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from delta.tables import DeltaTable
from pyspark.sql import SparkSession

from lakehouse.delta import BEFORE_ANY, made, on_dates, read_changes, read_version
from lakehouse.delta_log import DeltaLogError, read_snapshot
from lakehouse.delta_rows import SmallTable
from lakehouse.lake_tables import DAILY_LISTENS
from lakehouse.spark import schema_of
from tests.integration.laboratory import Lab

DAY, LATER = date(2024, 6, 25), date(2024, 6, 26)


def kpi(day: date, genre: str, listens: int) -> dict[str, Any]:
    song = {"rank": 1, "track_id": "t", "track_name": '夜 \'n "day"', "artists": None, "plays": listens}
    return {
        "listen_date": day,
        "track_genre": genre,
        "listen_count": listens,
        "unique_listeners": None,
        "total_listening_time_ms": 2**62,
        "avg_listening_time_per_user_ms": Decimal("12.30"),
        "top_songs": [song, {**song, "rank": 2, "track_id": "u"}],
        "curated_version": 1,
        "run_id": "r",
        "computed_at": datetime(2024, 6, 27, 1, 2, 3, 4, UTC),
    }


@pytest.fixture
def written(lab: Lab, spark: SparkSession) -> DeltaTable:
    """Appended to, replaced by date, merged into, deleted from, compacted: with change data files and without."""
    made(spark, lab.s3, DAILY_LISTENS, lab.places)
    uri, schema = DAILY_LISTENS.uri(lab.places), schema_of(DAILY_LISTENS.contract)

    def write(mode: str, *rows: dict[str, Any], **options: str) -> None:
        frame = spark.createDataFrame([tuple(row.values()) for row in rows], schema)
        frame.write.format("delta").mode(mode).options(**options).save(uri)

    write("append", kpi(DAY, "pop", 1), kpi(DAY, "rock", 2), kpi(LATER, "pop", 3))
    write("append", kpi(DAY, "jazz", 4))
    write("overwrite", kpi(DAY, "pop", 1), kpi(DAY, "rock", 5), replaceWhere=on_dates([DAY]))
    table = DeltaTable.forPath(spark, uri)
    arriving = spark.createDataFrame([tuple(kpi(DAY, "pop", 6).values()), tuple(kpi(DAY, "folk", 7).values())], schema)
    key = "t.listen_date = s.listen_date AND t.track_genre = s.track_genre"
    merge = table.alias("t").merge(arriving.alias("s"), key).whenMatchedUpdateAll().whenNotMatchedInsertAll()
    merge.execute()
    table.delete("track_genre = 'rock'")
    write("append", kpi(LATER, "rock", 8))
    table.optimize().executeCompaction()
    return table


def counted(rows: Any) -> Counter[str]:
    return Counter(repr(sorted(row.items())) for row in rows)


def test_rows_and_changes_are_those_that_spark_reads(lab: Lab, spark: SparkSession, written: DeltaTable) -> None:
    uri, names = DAILY_LISTENS.uri(lab.places), DAILY_LISTENS.contract.columns
    newest = written.history(1).collect()[0]["version"]
    assert newest == 7, "what the fixture lists, each a commit"
    table = SmallTable(lab.s3, DAILY_LISTENS, lab.places)
    for version in range(newest + 1):
        snapshot = read_snapshot(lab.s3, DAILY_LISTENS.bucket(lab.places), DAILY_LISTENS.prefix, version=version)
        assert snapshot is not None
        by_spark = read_version(spark, uri, version)
        for dates, rows in ((None, by_spark), ([LATER], by_spark.where(on_dates([LATER]))), ([], by_spark.limit(0))):
            read = [row for some in table.read(snapshot, dates) for row in some.to_pylist()]
            assert counted(read) == counted(rows.toArrow().to_pylist())
    for after in range(BEFORE_ANY, newest):
        told = [
            {**change.row, "_change_type": change.kind, "_commit_version": change.version}
            for change in table.changes(after=after, until=newest)
        ]
        feed = read_changes(spark, uri, after=after, until=newest).select(*names, "_change_type", "_commit_version")
        assert counted(told) == counted(feed.toArrow().to_pylist())
        assert [one["_commit_version"] for one in told] == sorted(one["_commit_version"] for one in told)
    kinds = {change.kind for change in table.changes(after=BEFORE_ANY, until=newest)}
    assert kinds == {"insert", "delete", "update_preimage", "update_postimage"}


def test_what_is_no_longer_there_is_told(lab: Lab, written: DeltaTable) -> None:
    bucket = DAILY_LISTENS.bucket(lab.places)
    table = SmallTable(lab.s3, DAILY_LISTENS, lab.places)
    snapshot = read_snapshot(lab.s3, bucket, DAILY_LISTENS.prefix)
    assert snapshot is not None
    key = next(iter(snapshot.files))
    lab.s3.delete_object(Bucket=bucket, Key=key)
    with pytest.raises(DeltaLogError, match=key):
        list(table.read(snapshot))
    lab.s3.delete_object(Bucket=bucket, Key=f"{DAILY_LISTENS.prefix}_delta_log/{3:020}.json")
    with pytest.raises(DeltaLogError, match="no commit 3"):
        list(table.changes(after=1, until=5))
