"""Commits made without Spark: Spark reads them as its own, and no commit is ever lost, doubled or overwritten."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pyarrow as pa
import pytest
from botocore.exceptions import ClientError
from delta.tables import DeltaTable
from pyspark.sql import SparkSession
from pyspark.sql.pandas.types import to_arrow_schema

from batch_jobs.replacing import COMMITS_PER_CHECKPOINT, Replacing
from lakehouse.delta import BEFORE_ANY, made, read_changes, read_version, write_checkpoint
from lakehouse.delta_commits import Replacement, everything, of_dates
from lakehouse.delta_log import DeltaLogError, Snapshot, newest_commit, read_snapshot
from lakehouse.delta_rows import SmallTable
from lakehouse.lake_tables import DAILY_LISTENS
from lakehouse.settings import KpiSettings
from lakehouse.spark import schema_of
from tests.integration.laboratory import Lab
from tests.integration.test_delta_rows import DAY, LATER, counted, kpi

ABOUT = {"run_id": "run-1"}


def arrow(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=to_arrow_schema(schema_of(DAILY_LISTENS.contract)))


def snapshot(lab: Lab) -> Snapshot:
    found = read_snapshot(lab.s3, DAILY_LISTENS.bucket(lab.places), DAILY_LISTENS.prefix)
    assert found is not None
    return found


def check(lab: Lab, *wanted: dict[str, Any]) -> None:
    """The table holds these rows."""
    some = SmallTable(lab.s3, DAILY_LISTENS, lab.places).read(snapshot(lab))
    found = [row for rows in some for row in rows.select(DAILY_LISTENS.contract.columns).to_pylist()]
    assert counted(found) == counted(arrow(*wanted).to_pylist())


@pytest.fixture
def base(lab: Lab, spark: SparkSession) -> Snapshot:
    return made(spark, lab.s3, DAILY_LISTENS, lab.places)


def replacement(lab: Lab, base: Snapshot, day: date, *rows: dict[str, Any], s3: Any = None) -> Replacement:
    one = Replacement(s3 or lab.s3, DAILY_LISTENS, lab.places, base)
    one.put(arrow(*rows), day)
    return one


def test_spark_reads_writes_and_cares_for_what_was_committed_without_it(
    lab: Lab, spark: SparkSession, base: Snapshot
) -> None:
    uri, names = DAILY_LISTENS.uri(lab.places), DAILY_LISTENS.contract.columns
    first = Replacement(lab.s3, DAILY_LISTENS, lab.places, base)
    first.put(arrow(kpi(DAY, "pop", 1), kpi(DAY, "rock", 2)), DAY)
    first.put(arrow(kpi(LATER, "pop", 3)), LATER)
    assert first.commit(of_dates([DAY, LATER]), about=ABOUT, transaction=("t", 3)) == 1
    assert replacement(lab, snapshot(lab), DAY, kpi(DAY, "jazz", 4)).commit(of_dates([DAY]), about=ABOUT) == 2
    wanted = [kpi(DAY, "jazz", 4), kpi(LATER, "pop", 3)]

    frame = spark.createDataFrame([tuple(kpi(LATER, "folk", 5).values())], schema_of(DAILY_LISTENS.contract))
    skipped = frame.write.format("delta").mode("append").options(txnAppId="t", txnVersion="3")
    skipped.save(uri)
    assert snapshot(lab).version == 2, "Spark knows the transaction"
    frame.write.format("delta").mode("append").save(uri)
    assert replacement(lab, snapshot(lab), DAY, kpi(DAY, "jazz", 6)).commit(of_dates([DAY]), about=ABOUT) == 4
    wanted = [kpi(DAY, "jazz", 6), kpi(LATER, "pop", 3), kpi(LATER, "folk", 5)]
    check(lab, *wanted)
    for version in range(5):
        by_spark = read_version(spark, uri, version)
        at = read_snapshot(lab.s3, DAILY_LISTENS.bucket(lab.places), DAILY_LISTENS.prefix, version=version)
        assert at is not None
        read = [row for some in SmallTable(lab.s3, DAILY_LISTENS, lab.places).read(at) for row in some.to_pylist()]
        assert counted(read) == counted(by_spark.toArrow().to_pylist())
    feed = read_changes(spark, uri, after=BEFORE_ANY, until=4).select(*names, "_change_type", "_commit_version")
    told = [
        {**change.row, "_change_type": change.kind, "_commit_version": change.version}
        for change in SmallTable(lab.s3, DAILY_LISTENS, lab.places).changes(after=BEFORE_ANY, until=4)
    ]
    assert counted(told) == counted(feed.toArrow().to_pylist())

    write_checkpoint(spark, uri)
    assert (snapshot(lab).checkpoint, snapshot(lab).transactions) == (4, {"t": 3})
    table = DeltaTable.forPath(spark, uri)
    described = table.history().collect()
    assert [row["version"] for row in described] == [4, 3, 2, 1, 0]
    assert described[0]["userMetadata"] == '{"run_id": "run-1"}'
    table.optimize().executeCompaction()
    table.delete("track_genre = 'folk'")
    check(lab, *wanted[:2])
    whole = Replacement(lab.s3, DAILY_LISTENS, lab.places, snapshot(lab))
    assert whole.commit(everything, about=ABOUT) is not None
    assert read_version(spark, uri, snapshot(lab).version).count() == 0


def test_a_transaction_is_committed_once(lab: Lab, base: Snapshot) -> None:
    assert (
        replacement(lab, base, DAY, kpi(DAY, "pop", 1)).commit(of_dates([DAY]), about=ABOUT, transaction=("t", 5)) == 1
    )
    for version in (4, 5):
        # As a run that has read the table before the other one's commit, and as one that comes after it.
        for found in (base, snapshot(lab)):
            late = replacement(lab, found, DAY, kpi(DAY, "pop", 2))
            assert late.commit(of_dates([DAY]), about=ABOUT, transaction=("t", version)) is None
    check(lab, kpi(DAY, "pop", 1))


def test_what_somebody_else_has_committed_meanwhile_stays(lab: Lab, base: Snapshot) -> None:
    other, late = replacement(lab, base, LATER, kpi(LATER, "pop", 1)), replacement(lab, base, DAY, kpi(DAY, "pop", 2))
    assert other.commit(of_dates([LATER]), about={"run_id": "other"}) == 1
    assert late.commit(of_dates([DAY]), about=ABOUT) == 2
    check(lab, kpi(LATER, "pop", 1), kpi(DAY, "pop", 2))


class Unlucky:
    """S3 whose answer to the put of a commit is lost, or which somebody else is always ahead at."""

    def __init__(self, s3: Any, *, is_outrun: bool = False) -> None:
        self._s3 = s3
        self._is_outrun = is_outrun

    def __getattr__(self, name: str) -> Any:
        return getattr(self._s3, name)

    def put_object(self, **request: Any) -> Any:
        if "IfNoneMatch" in request:
            body = b'{"commitInfo":{"txnId":"other"}}' if self._is_outrun else request["Body"]
            self._s3.put_object(**request | {"Body": body})
        return self._s3.put_object(**request)


def test_a_commit_whose_answer_was_lost_is_known_again(lab: Lab, base: Snapshot) -> None:
    one = replacement(lab, base, DAY, kpi(DAY, "pop", 1), s3=Unlucky(lab.s3))
    assert one.commit(of_dates([DAY]), about=ABOUT) == 1
    assert snapshot(lab).version == 1
    check(lab, kpi(DAY, "pop", 1))


def test_who_is_always_outrun_gives_up_and_any_other_error_is_told(lab: Lab, base: Snapshot) -> None:
    one = replacement(lab, base, DAY, kpi(DAY, "pop", 1), s3=Unlucky(lab.s3, is_outrun=True))
    with pytest.raises(DeltaLogError, match="somebody else had committed first, 10 times"):
        one.commit(of_dates([DAY]), about=ABOUT)
    check(lab)
    lost = replace(lab.places, presentation_bucket="no-such-bucket")
    with pytest.raises(ClientError, match="NoSuchBucket"):
        Replacement(lab.s3, DAILY_LISTENS, lost, base).commit(of_dates([DAY]), about=ABOUT)


@pytest.mark.parametrize(
    ("protocol", "feature"),
    [
        ({"minWriterVersion": 7, "writerFeatures": ["appendOnly", "deletionVectors"]}, "deletionVectors"),
        ({"minWriterVersion": 5}, "columnMapping"),
    ],
)
def test_a_table_with_a_feature_that_is_not_kept_is_refused(
    lab: Lab, base: Snapshot, protocol: dict[str, Any], feature: str
) -> None:
    one = replacement(lab, replace(base, protocol=protocol), DAY, kpi(DAY, "pop", 1))
    with pytest.raises(DeltaLogError, match=f"found {feature}"):
        one.commit(of_dates([DAY]), about=ABOUT)
    assert snapshot(lab).version == 0


def test_every_tenth_commit_is_a_checkpoint(lab: Lab, base: Snapshot) -> None:
    with lab.leased(lab.settings(KpiSettings)) as run:
        for number in range(COMMITS_PER_CHECKPOINT + 1):
            replacing = Replacing(run, DAILY_LISTENS, snapshot(lab))
            replacing.put(arrow(kpi(DAY, "pop", number)), DAY)
            replacing.commit(of_dates([DAY]), curated_version=number)
    found = snapshot(lab)
    assert (found.version, found.checkpoint) == (COMMITS_PER_CHECKPOINT + 1, COMMITS_PER_CHECKPOINT)
    check(lab, kpi(DAY, "pop", COMMITS_PER_CHECKPOINT))
    newest = newest_commit(lab.s3, DAILY_LISTENS.bucket(lab.places), DAILY_LISTENS.prefix)
    assert newest is not None
    assert newest.metadata == {"job": "kpi_transformation", "run_id": "run-1", "curated_version": 10}
