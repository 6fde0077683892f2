"""The kill matrix of ingestion: kill -9 at every stage of a micro-batch and at random, under load and faults.

Throttles (5 %) and lost answers (5 %) of GetRecords and errors (5 %) of S3 are injected from beginning to end, and a
sender never rests. Each event that was acknowledged must be in exactly one committed batch, by its id.
"""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq
import pytest

from lakehouse import layout
from lakehouse.batches import list_pending
from local_cloud.cloud import Cloud
from local_cloud.state import PROJECT
from tests.e2e.fault_proxy import SLOW_DOWN, THROTTLE, TIMEOUT, Faults, fault_proxy
from tests.e2e.waiting import wait_until

STREAM: Final = "killed"
BUCKET: Final = "kill-matrix"
AT_BOUNDARIES: Final = ("records_judged", "data_written", "manifest_written")
RANDOM_KILLS: Final = 20
STEP_SECONDS: Final = 300.0


class Sender:
    """Sends events without a rest: one record of twenty as JSON Lines, then twenty of one each."""

    def __init__(self, kinesis: Any) -> None:
        self._kinesis = kinesis
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self.acknowledged: list[str] = []

    def __enter__(self) -> Sender:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _send(self) -> None:
        while not self._stop.wait(0.2):
            ids = [str(uuid.uuid4()) for _ in range(40)]
            events = [
                {"event_id": name, "user_id": 1, "track_id": "t", "listen_time": "2024-06-25T10:00:00Z"} for name in ids
            ]
            lines = [json.dumps(event).encode() for event in events]
            entries = [b"\n".join(lines[:20]), *lines[20:]]
            answer = self._kinesis.put_records(
                StreamName=STREAM,
                Records=[{"Data": data, "PartitionKey": str(place)} for place, data in enumerate(entries)],
            )
            assert answer["FailedRecordCount"] == 0
            self.acknowledged += ids


class Ingestion:
    """Starts the job as a process group of its own, and kills it."""

    def __init__(self, cloud: Cloud, environment: dict[str, str], log: Path) -> None:
        self._environment = environment
        self._log = log
        self._s3, self._dynamodb, self._table = cloud.client("s3"), cloud.client("dynamodb"), cloud.places.control_table
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a run; the lease of one that was killed is given up for it, which saves fifteen seconds each time."""
        self._dynamodb.delete_item(TableName=self._table, Key={"pk": {"S": "lease"}, "sk": {"S": layout.INGEST_JOB}})
        command = [sys.executable, "-m", "streaming_jobs.ingest_listens", "--trigger_seconds", "0.5"]
        command += ["--stream", STREAM, "--raw_bucket", BUCKET, *arguments]
        with self._log.open("ab") as output:
            self.process = subprocess.Popen(
                command, cwd=PROJECT, env=self._environment, stdout=output, stderr=output, start_new_session=True
            )
        return self.process

    def kill(self) -> None:
        """kill -9 of the run, its JVM and its workers."""
        assert self.process is not None
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition while the run lives; one that gave up under the faults is started again."""

        def holds() -> bool:
            if self.process is None or self.process.poll() is not None:
                self.start()
            return condition()

        wait_until(holds, seconds=STEP_SECONDS, what=what)

    def keys(self, prefix: str) -> list[str]:
        """Keys under a prefix of the bucket, unspoiled."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def commits(self) -> int:
        """Batches that Spark has committed."""
        return sum(key.rpartition("/")[2].isdigit() for key in self.keys(f"{layout.INGEST_CHECKPOINT}commits/"))

    def ends(self) -> list[str]:
        """The journal's records of where tasks have ended."""
        return [key for key in self.keys(layout.INGEST_PROGRESS) if "/ends-" in key]

    def manifests(self) -> int:
        """Batches that count."""
        return sum(key.endswith(layout.MANIFEST) for key in self.keys(layout.PROCESSED))


@contextmanager
def spoiled(cloud: Cloud, log: Path) -> Iterator[tuple[Ingestion, list[Faults]]]:
    """Ingestion whose every read and write of Kinesis and S3 goes through faults."""
    reads = Faults(
        lambda call: call.target.endswith(".GetRecords"),
        {THROTTLE: 0.05, TIMEOUT: 0.05},
        random.Random(1),
    )
    objects = Faults(lambda _: True, {SLOW_DOWN: 0.05}, random.Random(2))
    with ExitStack() as stack:
        kinesis = stack.enter_context(fault_proxy(cloud.record.endpoint, reads))
        s3 = stack.enter_context(fault_proxy(cloud.record.endpoint, objects))
        environment = {**os.environ, **cloud.environment}
        environment |= {"AWS_ENDPOINT_URL_KINESIS": kinesis, "AWS_ENDPOINT_URL_S3": s3}
        environment["PYSPARK_SUBMIT_ARGS"] = f"--conf spark.hadoop.fs.s3a.endpoint={s3} pyspark-shell"
        ingestion = Ingestion(cloud, environment, log)
        try:
            yield ingestion, [reads, objects]
        finally:
            if ingestion.process is not None:
                ingestion.kill()


def _attempt(key: str) -> str:
    """The folder of the attempt that a key belongs to; empty for a manifest."""
    return key.partition("attempt=")[2].partition("/")[0]


def committed_ids(cloud: Cloud) -> Counter[str]:
    """Event ids in exactly the files that manifests name."""
    s3 = cloud.client("s3")
    found: Counter[str] = Counter()
    for manifest in list_pending(s3, BUCKET):
        assert not manifest.rejected
        for file in manifest.files:
            table = pq.read_table(io.BytesIO(s3.get_object(Bucket=BUCKET, Key=file.key)["Body"].read()))
            found.update(table.column("event_id").to_pylist())
    return found


@pytest.mark.timeout(1500)
def test_every_event_once_whenever_ingestion_is_killed(cloud: Cloud, tmp_path: Path) -> None:
    kinesis, rng = cloud.client("kinesis"), random.Random(7)
    cloud.client("s3").create_bucket(Bucket=BUCKET)
    kinesis.create_stream(StreamName=STREAM, ShardCount=3)
    kinesis.get_waiter("stream_exists").wait(StreamName=STREAM, WaiterConfig={"Delay": 1})
    with spoiled(cloud, tmp_path / "ingest.log") as (ingestion, faults), Sender(kinesis) as sender:
        for boundary in AT_BOUNDARIES:
            process = ingestion.start("--kill_at", boundary)
            wait_until(lambda one=process: one.poll() is not None, seconds=STEP_SECONDS, what=boundary)  # type: ignore[misc]
            assert process.returncode == -signal.SIGKILL, (tmp_path / "ingest.log").read_text()[-3000:]

        fetched = set(ingestion.ends())
        ingestion.wait(lambda: set(ingestion.ends()) > fetched, "a fetch")
        ingestion.kill()  # a task knows where its batch ends and has written nothing of it yet
        written = {_attempt(key) for key in ingestion.keys(layout.PROCESSED)}
        ingestion.wait(lambda: {_attempt(key) for key in ingestion.keys(layout.PROCESSED)} > written, "a file")
        ingestion.kill()  # between the first file of an attempt and the manifest, or directly after
        before = ingestion.commits()
        ingestion.wait(lambda: ingestion.commits() > before, "a commit")
        ingestion.kill()  # directly after a commit

        # A zombie: it stops within a batch, sleeps through its successor's commit of the same batch, and wakes up.
        before, old = ingestion.manifests(), {_attempt(key) for key in ingestion.keys(layout.PROCESSED)}
        ingestion.wait(lambda: {_attempt(key) for key in ingestion.keys(layout.PROCESSED)} > old, "an attempt")
        zombie = ingestion.process
        assert zombie is not None
        os.killpg(zombie.pid, signal.SIGSTOP)
        ingestion.start()
        ingestion.wait(lambda: ingestion.manifests() > before + 1, "the successor's batches")
        os.killpg(zombie.pid, signal.SIGCONT)
        wait_until(lambda: zombie.poll() is not None, seconds=STEP_SECONDS, what="the end of the zombie")
        assert zombie.returncode == 1, "it has lost its lease and says so"

        for _ in range(RANDOM_KILLS):
            seen = ingestion.keys(layout.INGEST_CHECKPOINT)
            ingestion.wait(lambda old=seen: ingestion.keys(layout.INGEST_CHECKPOINT) != old, "a sign of life")  # type: ignore[misc]
            time.sleep(rng.uniform(0, 2.5))  # the kill's own moment, not a wait for anything
            ingestion.kill()
    with spoiled(cloud, tmp_path / "drain.log") as (ingestion, _):
        ended = ingestion.start("--drain", "true")
        assert ended.wait(STEP_SECONDS) == 0, (tmp_path / "drain.log").read_text()[-3000:]
    assert committed_ids(cloud) == Counter(sender.acknowledged)
    assert len(sender.acknowledged) > 5_000
    reads, objects = (one.counts for one in faults)
    assert reads["throttle"] > 0
    assert reads["timeout"] > 0
    assert objects["slow_down"] > 50
