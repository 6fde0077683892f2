"""Files of judged events (moto): every event in exactly one of them, or handed to the driver; nothing twice."""

from __future__ import annotations

import io
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakehouse.bad_records import BadRecord
from streaming_jobs import outcome_files
from streaming_jobs.batch_parts import Content, Part
from streaming_jobs.outcome_files import OutcomeFiles
from streaming_jobs.parsing import PARSED, parse_batches
from tests.payloads import good

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client

ARRIVED = datetime(2024, 6, 25, 18, 0, 0, 250_000, tzinfo=UTC)
BATCH = "generation=g/batch=1/"
PLACED = pa.schema([PARSED.field(name) for name in ("data", "stream", "shard_id", "sequence_number", "arrived_at")])


@pytest.fixture
def files(raw_bucket: str) -> OutcomeFiles:
    return OutcomeFiles(raw_bucket, BATCH, "attempt=1/")


def judged(*payloads: bytes, first: int = 0) -> Iterator[pa.RecordBatch]:
    """One record a payload, each arriving a second before the one that went before."""
    for number, data in enumerate(payloads, start=first):
        row = {
            "data": data,
            "stream": "listens",
            "shard_id": None if number % 2 else "shardId-0",
            "sequence_number": str(number),
            "arrived_at": ARRIVED - timedelta(seconds=number),
        }
        yield from parse_batches([pa.RecordBatch.from_pylist([row], PLACED)])


def found(s3: S3Client, bucket: str, part: Part) -> tuple[list[str], list[BadRecord]]:
    """Sequence numbers of the listens, and the rejects, in the files that a part names."""
    bodies = {file: s3.get_object(Bucket=bucket, Key=file.key) for file in part.listens + part.rejects}
    assert all(body["ETag"].strip('"') == file.etag for file, body in bodies.items())
    read = {file: body["Body"].read() for file, body in bodies.items()}
    assert all(len(body) == file.size for file, body in read.items())
    listens = [pq.read_table(io.BytesIO(read[file]))["sequence_number"].to_pylist() for file in part.listens]
    rejects = [BadRecord.from_json(line) for file in part.rejects for line in read[file].splitlines()]
    return [number for some in listens for number in some], rejects


def test_a_kind_of_outcome_has_a_file_and_the_account_names_each_reason(s3: S3Client, files: OutcomeFiles) -> None:
    payloads = (good(user_id=1), b"{", b'{"user_id":"\xff"}', good(user_id=2))
    part = files.write(s3, pa.Table.from_batches(judged(*payloads)))
    listens, rejects = found(s3, files.bucket, part)
    assert sorted(listens) == ["0", "3"]
    assert sorted((one.reason, one.data, one.position.shard_id) for one in rejects) == [
        ("invalid_json", b"{", ""),
        ("invalid_utf8", b'{"user_id":"\xff"}', "shardId-0"),
    ]
    assert {(one.position.stream, one.source_batch) for one in rejects} == {("listens", BATCH)}
    assert {one.arrived_at for one in rejects} == {ARRIVED - timedelta(seconds=number) for number in (1, 2)}
    assert part.contents == {
        None: Content(2, len(payloads[0]) + len(payloads[3]), ARRIVED - timedelta(seconds=3)),
        "invalid_json": Content(1, 1, ARRIVED - timedelta(seconds=1)),
        "invalid_utf8": Content(1, len(payloads[2]), ARRIVED - timedelta(seconds=2)),
    }
    assert Part.from_json(part.to_json()) == part


def test_late_and_future_events_are_counted(s3: S3Client, files: OutcomeFiles) -> None:
    late = [good(listen_time=f"2024-06-0{day}T00:00:00Z") for day in (1, 2)]
    payloads = (*late, good(listen_time="2024-06-25T19:00:00Z"), good())
    part = files.write(s3, pa.Table.from_batches(judged(*payloads)))
    assert [(content.rows, content.late, content.future) for content in part.contents.values()] == [(4, 2, 1)]


def test_a_kind_that_there_is_not_has_no_file(s3: S3Client, files: OutcomeFiles) -> None:
    assert files.write(s3, pa.Table.from_batches(judged(b"{"))).listens == ()
    assert files.write(s3, pa.Table.from_batches(judged(good()))).rejects == ()


@pytest.mark.parametrize("events", [0, 1, 7, 8, 15, 16, 40])
def test_a_task_writes_what_is_enough_for_a_file_and_hands_over_the_rest(
    s3: S3Client, files: OutcomeFiles, events: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(good(user_id=1_000))
    monkeypatch.setattr(outcome_files, "PAYLOAD_BYTES_PER_FILE", 8 * size)
    monkeypatch.setattr(outcome_files, "TOO_LITTLE_BYTES", 4 * size)
    monkeypatch.setattr(outcome_files, "s3_of_task", lambda: s3)
    payloads = [good(user_id=1_000 + number) for number in range(events)]
    handed = [row for batch in files.write_in_task(judged(*payloads)) for row in batch.to_pylist()]
    parts = [Part.from_json(row["part"]) for row in handed if row["part"]]
    over = [number for row in handed if row["judged"] for number in read(row["judged"])]
    listens = [number for part in parts for number in found(s3, files.bucket, part)[0]]
    assert Counter(listens + over) == Counter(str(number) for number in range(events))
    assert len(over) == (events % 8 if events % 8 < 4 else 0)
    assert len(parts) == len({part.listens for part in parts}) == events // 8 + (events % 8 >= 4)
    assert len(s3.list_objects_v2(Bucket=files.bucket).get("Contents", [])) == len(parts)


def read(handed: bytes) -> list[str]:
    return list(outcome_files._read(bytearray(handed))["sequence_number"].to_pylist())
