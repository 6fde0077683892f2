"""Which files a look takes, and what becomes of one that fails (moto; the sink is a list, nothing is parsed)."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import pytest

from lakehouse.boundaries import Boundaries
from lakehouse.drops import list_markers
from lakehouse.errors import LeaseError
from lakehouse.jobs import Report
from streaming_jobs import csv_drops
from streaming_jobs.csv_drops import LONGEST_PAUSE, DropError, DropIngestion

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from lakehouse.batches import BatchId

START: Final = datetime(2024, 7, 1, tzinfo=UTC)


@dataclass
class Ingestion:
    """A run, the names of the files that came to its sink, and those that the sink fails on."""

    s3: S3Client
    bucket: str
    now: datetime = START
    came: list[str] = field(default_factory=list)
    broken: dict[str, Exception] = field(default_factory=dict)

    def __post_init__(self) -> None:
        settings = SimpleNamespace(raw_bucket=self.bucket, trigger_seconds=10.0)
        run: Any = SimpleNamespace(
            s3=self.s3,
            settings=settings,
            spark=SimpleNamespace(dataSource=SimpleNamespace(register=lambda _: None)),
            lease=SimpleNamespace(check=lambda: None),
            boundaries=Boundaries(),
            report=Report(),
            now=lambda: self.now,
        )
        sink: Any = self
        self.stop = threading.Event()
        self.drops = DropIngestion(run, sink)

    def write_batch(self, batch: BatchId, _events: Any) -> None:
        name = batch.batch.split("-")[0]
        self.came.append(name)
        if name in self.broken:
            raise self.broken[name]

    def put(self, name: str, body: str = "x") -> None:
        self.s3.put_object(Bucket=self.bucket, Key=f"streams/{name}.csv", Body=body.encode())

    def look(self) -> list[str]:
        """Look once, and return what came to the sink."""
        self.came.clear()
        self.drops.ingest_waiting(self.stop)
        return list(self.came)


@pytest.fixture
def ingestion(s3: S3Client, raw_bucket: str, monkeypatch: pytest.MonkeyPatch) -> Ingestion:
    monkeypatch.setattr(csv_drops, "parse_drop", lambda *_: None)
    return Ingestion(s3, raw_bucket)


def test_each_content_version_comes_once(ingestion: Ingestion) -> None:
    ingestion.put("a")
    ingestion.put("b")
    assert ingestion.look() == ["a", "b"]
    assert ingestion.look() == []
    ingestion.put("a")
    ingestion.put("b", "corrected")
    assert ingestion.look() == ["b"]
    assert Ingestion(ingestion.s3, ingestion.bucket).look() == [], "another run reads the markers"
    assert len(list_markers(ingestion.s3, ingestion.bucket)) == 3


def test_a_file_that_fails_holds_up_no_other_and_is_tried_ever_more_rarely(ingestion: Ingestion) -> None:
    for name in "abc":
        ingestion.put(name)
    ingestion.broken = {"b": RuntimeError("S3 does not answer")}
    assert ingestion.look() == ["a", "b", "c"]
    with pytest.raises(DropError, match="found 1 that could not be"):
        ingestion.drops.require_all()
    for seconds in (20, 40, 80, 160, 320, 600, 600):
        ingestion.now += timedelta(seconds=seconds - 1)
        assert ingestion.look() == []
        ingestion.now += timedelta(seconds=1)
        assert ingestion.look() == ["b"]
    ingestion.broken = {}
    ingestion.now += LONGEST_PAUSE
    assert ingestion.look() == ["b"]
    ingestion.drops.require_all()
    assert ingestion.look() == []


def test_a_version_that_is_gone_is_no_failure_any_more(ingestion: Ingestion) -> None:
    ingestion.put("a")
    ingestion.broken = {"a": RuntimeError("replaced")}
    assert ingestion.look() == ["a"]
    ingestion.broken = {}
    ingestion.put("a", "another version")
    assert ingestion.look() == ["a"]
    ingestion.drops.require_all()


def test_a_lost_lease_ends_the_run(ingestion: Ingestion) -> None:
    ingestion.put("a")
    ingestion.put("b")
    ingestion.broken = {"a": LeaseError(expected="it", found="another's", do="End.")}
    with pytest.raises(LeaseError):
        ingestion.look()
    assert ingestion.came == ["a"]


def test_no_file_is_begun_after_a_stop(ingestion: Ingestion) -> None:
    ingestion.put("a")
    ingestion.stop.set()
    assert ingestion.look() == []
