"""A local cloud comes up whole and leaves nothing: after `down`, after `close`, after the death of its parent."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from local_cloud import lifecycle
from local_cloud.cloud import Cloud
from local_cloud.errors import AlreadyRunningError, PortInUseError
from local_cloud.processes import find_left
from local_cloud.state import CloudRecord, State

DEADLINE_SECONDS = 60
UP_AND_WAIT = """
import sys, time
from pathlib import Path
from local_cloud import lifecycle
lifecycle.up(Path(sys.argv[1]))
print("up", flush=True)
time.sleep(300)
"""
BUSY_JOB = "import subprocess, time\nsubprocess.Popen(['sleep', '300'])\nprint('ready', flush=True)\ntime.sleep(300)\n"


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true within {DEADLINE_SECONDS} s"
        time.sleep(0.1)


def start_busy_job(cloud: Cloud) -> None:
    """Start a run whose driver has a child of its own."""
    cloud.client("s3").put_object(Bucket=cloud.places.raw_bucket, Key="toys/busy.py", Body=BUSY_JOB.encode())
    glue = cloud.client("glue")
    location = f"s3://{cloud.places.raw_bucket}/toys/busy.py"
    glue.create_job(Name="busy", Role="toy", Command={"Name": "glueetl", "ScriptLocation": location})
    run_id = glue.start_job_run(JobName="busy")["JobRunId"]
    log = cloud.state / "runs" / run_id / "driver.log"
    wait_until(lambda: log.exists() and "ready" in log.read_text(), "the job's readiness")


def assert_nothing_left(state: Path, record: CloudRecord) -> None:
    wait_until(lambda: not find_left(state), "the end of every process")
    assert not listens(record.port)
    assert not listens(record.glue_port)


def test_the_stack_of_infra_is_in_place(cloud: Cloud) -> None:
    places = cloud.places
    buckets = {bucket["Name"] for bucket in cloud.client("s3").list_buckets()["Buckets"]}
    assert buckets >= {places.raw_bucket, places.curated_bucket, places.presentation_bucket}
    tables = set(cloud.client("dynamodb").list_tables()["TableNames"])
    # What other tests have put beside the stack has a name of its own making.
    tables = {name for name in tables if not name.startswith(("t-", "runtime-"))}
    assert tables == {places.control_table, places.daily_listens_table, places.top_genres_table}
    jobs = {job["Name"] for job in cloud.client("glue").get_jobs()["Jobs"]}
    assert jobs >= {"ingest_listens", "batch_transform", "kpi_transformation"}
    summary = cloud.client("kinesis").describe_stream_summary(StreamName=places.stream)
    assert summary["StreamDescriptionSummary"]["OpenShardCount"] == 2


def test_it_listens_on_the_loopback_interface_only(cloud: Cloud) -> None:
    processes = find_left(cloud.state)
    addresses = {
        connection.laddr.ip
        for process in processes
        for connection in process.net_connections(kind="inet")
        if connection.status == "LISTEN"
    }
    assert addresses == {"127.0.0.1"}


def test_a_second_up_on_the_same_folder_is_refused(cloud: Cloud) -> None:
    with pytest.raises(AlreadyRunningError, match="listenlake down"):
        lifecycle.up(cloud.state)


def test_a_busy_port_is_refused(tmp_path: Path, cloud: Cloud) -> None:
    with pytest.raises(PortInUseError, match=str(cloud.record.port)):
        lifecycle.up(tmp_path, port=cloud.record.port)
    assert find_left(tmp_path) == []


def test_down_ends_a_detached_cloud_with_its_running_jobs(tmp_path: Path) -> None:
    detached = lifecycle.up(tmp_path, tied=False)
    start_busy_job(detached)
    detached.close()  # of no effect on a detached cloud
    assert lifecycle.status(tmp_path).running
    loaded = lifecycle.load(tmp_path)
    assert loaded is not None
    assert loaded.environment == detached.environment
    assert lifecycle.down(tmp_path) > 0
    assert_nothing_left(tmp_path, detached.record)
    after = lifecycle.status(tmp_path)
    assert (after.running, after.crashed, after.processes) == (False, False, 0)
    assert [str(run.state) for run in after.runs] == ["STOPPED"]
    assert lifecycle.down(tmp_path) == 0


@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGINT])
def test_nothing_survives_the_death_of_the_parent(tmp_path: Path, death: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", UP_AND_WAIT, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "up\n"
        cloud = lifecycle.load(tmp_path)
        assert cloud is not None
        start_busy_job(cloud)
        parent.send_signal(death)
    assert_nothing_left(tmp_path, cloud.record)


def test_what_a_crash_left_is_ended_by_the_next_up(tmp_path: Path) -> None:
    crashed = lifecycle.up(tmp_path, tied=False)
    supervisor = crashed.record.supervisor.process()
    assert supervisor is not None
    for process in (supervisor, *supervisor.children()):
        os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: lifecycle.load(tmp_path) is None, "the end of the killed processes")
    with lifecycle.up(tmp_path) as again:
        assert again.client("s3").list_buckets()["Buckets"]
    assert_nothing_left(tmp_path, again.record)
    assert State(tmp_path).read() is None
