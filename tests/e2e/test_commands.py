"""The documented commands, as a user types them, against one local cloud."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lakehouse import layout
from lakehouse.leases import Lease
from listenlake.connection import Connection
from listenlake.demo import DemoSettings, run_demo
from local_cloud.cloud import Cloud
from local_cloud.state import PROJECT
from tests.e2e.waiting import wait_until_run_ends

BIN = Path(sys.executable).parent
DATA = {
    "users/users.csv": 'user_id,user_name,user_age,user_country,created_at\n1,Ada,30,UK,2024-01-01\n2,"B, Bo",,SE,\n',
    "songs/songs.csv": (
        "id,track_id,artists,album_name,track_name,popularity,duration_ms,explicit,track_genre\n"
        '0,t1,A;B,"Al ""b"", um","So ""quoted"", yes",5,1000,False,pop\n'
        "1,t1,A;B,Other,Other name,5,9999,False,rock\n"
        "2,t2,C,D,Señor,7,2001,True,rock\n"
    ),
    "streams/streams1.csv": (
        "user_id,track_id,listen_time\n"
        "1,t1,2024-06-25 17:43:13\n"
        "1,t1,2024-06-25 17:43:13\n"
        "2,t1,2024-06-25T23:59:59Z\n"
        "2,t2,2024-06-26T00:30:00+01:00\n"
    ),
    "streams/streams2.csv": (
        "user_id,track_id,listen_time\n"
        "1,t2,2024-06-26 08:00:00\n"
        "9,t1,2024-06-26 08:00:00\n"
        "1,t9,2024-06-26 08:00:00\n"
        "x,t1,2024-06-26 08:00:00\n"
        "1,t1,yesterday\n"
    ),
}


def run(*command: str | Path, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, in a session of its own."""
    return subprocess.run(
        [str(part) for part in command],
        cwd=PROJECT,
        env={**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", **(environment or {})},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
        start_new_session=True,
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for name, text in DATA.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def own_data(cloud: Cloud, connection: Connection, data: Path) -> dict[str, Any]:
    """A demo over a user's own files, on the module's cloud."""
    result = run_demo(connection, DemoSettings(data=data, rate=None), cloud.state / "demo", lambda _line: None)
    return result.to_json()


def test_the_demo_takes_a_users_own_files(own_data: dict[str, Any]) -> None:
    assert own_data["equal"], own_data["differences"]
    assert own_data["rejects_by_reason"] == {
        "wrong_type": 1,
        "invalid_time": 1,
        "unknown_user": 1,
        "unknown_track": 1,
    }
    # pop 06-25, rock 06-25 (the listen at 00:30+01:00 is on the 25th in UTC), rock 06-26, and two charts.
    assert own_data["items_compared"] == 5


@pytest.mark.usefixtures("own_data")
def test_kpis_show_prints_what_is_served(cloud: Cloud) -> None:
    shown = run(BIN / "listenlake", "kpis", "show", "--json", "--state", cloud.state)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count("\n") == 1
    found = json.loads(shown.stdout)
    by_hand = {
        "listen_date": "2024-06-25",
        "track_genre": "pop",
        "listen_count": 2,
        "unique_listeners": 2,
        "total_listening_time_ms": 2000,
        "avg_listening_time_per_user_ms": 1000.0,
    }
    assert by_hand in found["genres"]
    assert {row["listen_date"] for row in found["top_genres"]} == {"2024-06-25", "2024-06-26"}
    first = next(row for row in found["top_songs"] if row["track_genre"] == "pop")
    assert (first["rank"], first["track_id"], first["plays"]) == (1, "t1", 2)
    assert first["track_name"] == 'So "quoted", yes'
    one = run(BIN / "listenlake", "kpis", "show", "--json", "--state", cloud.state, "--date", "2024-06-26")
    assert [row["track_genre"] for row in json.loads(one.stdout)["genres"]] == ["rock"]


@pytest.mark.usefixtures("own_data")
def test_spark_submit_works_as_documented(cloud: Cloud) -> None:
    done = run("spark-submit", "batch_jobs/batch_transform.py", "--step", "transform", environment=cloud.environment)
    assert done.returncode == 0, done.stderr[-3000:]
    # spark-submit hands on what the job writes to stderr as its own stdout.
    assert "run finished" in done.stdout


def test_a_second_run_is_refused_however_it_is_started(cloud: Cloud) -> None:
    client = cloud.client("dynamodb")
    with Lease(client, table=cloud.places.control_table, job=layout.TRANSFORM_JOB, run_id="the-first"):
        second = run(
            "spark-submit", "batch_jobs/batch_transform.py", "--step", "transform", environment=cloud.environment
        )
        glue = cloud.client("glue")
        run_id = glue.start_job_run(JobName=layout.TRANSFORM_JOB)["JobRunId"]
        with pytest.raises(glue.exceptions.ConcurrentRunsExceededException):
            glue.start_job_run(JobName=layout.TRANSFORM_JOB)
        assert wait_until_run_ends(glue, layout.TRANSFORM_JOB, run_id) == "FAILED"
    assert second.returncode == 1
    assert "expected no other run of batch_transform; found run the-first alive" in second.stdout
    message = glue.get_job_run(JobName=layout.TRANSFORM_JOB, RunId=run_id)["JobRun"]["ErrorMessage"]
    assert "found run the-first alive" in message


def test_the_lambda_can_be_invoked_by_hand(connection: Connection) -> None:
    answer = connection.client("lambda").invoke(
        FunctionName="start_jobs", Payload=json.dumps({"request": "sweep"}).encode()
    )
    woken = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, woken
    assert {entry["outcome"] for entry in woken.values()} <= {"idle", "started", "busy", "parked"}


def test_a_stream_that_does_not_exist_is_one_clear_message(cloud: Cloud) -> None:
    failed = run(
        sys.executable, "-m", "streaming_jobs.ingest_listens", "--stream", "nowhere", environment=cloud.environment
    )
    assert failed.returncode == 1
    assert "expected a Kinesis stream called nowhere; found none" in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.parametrize(
    ("removed", "named"), [("users/users.csv", "users/users.csv"), ("streams", "streams/*.csv")], ids=str
)
def test_the_demo_names_what_a_data_folder_lacks(tmp_path: Path, data: Path, removed: str, named: str) -> None:
    for name, text in DATA.items():
        if not name.startswith(removed):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text, encoding="utf-8")
    failed = run(BIN / "listenlake", "demo", "--data", tmp_path, "--state", tmp_path / "state")
    assert failed.returncode == 1
    assert named in failed.stderr.replace("\n", "")
    assert "Traceback" not in failed.stderr
    assert not (tmp_path / "state").exists()


def test_wrong_use_exits_with_2() -> None:
    assert run(BIN / "listenlake", "demo", "--no-such-option").returncode == 2
    assert run(sys.executable, "-m", "batch_jobs.batch_transform", "--step", "sideways").returncode == 2


def test_the_environment_is_complete(cloud: Cloud) -> None:
    printed = run(BIN / "listenlake", "env", "--state", cloud.state).stdout
    names = {line.removeprefix("export ").partition("=")[0] for line in printed.splitlines()}
    assert {"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_GLUE", "SPARK_CONF_DIR", "LISTENLAKE_RAW_BUCKET"} <= names
