"""The DAG runs to its end against a local cloud on which the Lambda works too, and says so when it can't.

The first test runs real jobs; the others, which are about tasks, put a few lines in place of `kpi_transformation`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from lakehouse import layout
from listenlake.comparison import compare
from listenlake.connection import Connection, producer_connect
from listenlake.demo import first_date
from listenlake.dimensions import put_dimensions
from listenlake.pipeline import BATCH_JOBS, Pipeline
from listenlake.served import read_served
from local_cloud.cloud import Cloud
from producers import run as producer
from producers.packing import AGGREGATE_BYTES
from producers.settings import DeliverySettings
from producers.synthetic import SyntheticSettings
from producers.truth import Truth
from tests.airflow_runs import Airflow, DagRun
from tests.e2e.waiting import wait_until

OF_DAG, OF_LAMBDA = "--airflow_task_uuid", "--wake_request"
BUSY = f"another run of {layout.KPI_JOB} is alive"
SECRET = "the listens of user 4711"
FAIL = f"raise ValueError({SECRET!r})"
PASS_OR_HOLD = """
import pathlib, sys, time
while "--hold" in sys.argv and pathlib.Path(sys.argv[sys.argv.index("--hold") + 1]).exists():
    time.sleep(0.1)
"""
RECOMPUTE = {"mode": "recompute", "from_date": "2024-06-25", "to_date": "2024-06-26", "repair": True}


@pytest.fixture(scope="module")
def airflow(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Airflow:
    made = Airflow(tmp_path_factory.mktemp("airflow"), cloud.environment)
    made.migrate()
    return made


@pytest.fixture
def play(cloud: Cloud, connection: Connection) -> Iterator[Callable[[str], None]]:
    """Puts a script in place of `kpi_transformation`, until the end of the test."""
    glue, s3, bucket = cloud.client("glue"), cloud.client("s3"), cloud.places.raw_bucket
    definition = glue.get_job(JobName=layout.KPI_JOB)["Job"]
    kept = ("Role", "Command", "GlueVersion", "WorkerType", "NumberOfWorkers", "MaxRetries", "Timeout")
    update = {name: definition[name] for name in (*kept, "DefaultArguments") if name in definition}
    pipeline = Pipeline(connection)

    def put(script: str) -> None:
        s3.put_object(Bucket=bucket, Key="toys/toy.py", Body=script.encode())
        command = {**update["Command"], "ScriptLocation": f"s3://{bucket}/toys/toy.py"}
        glue.update_job(JobName=layout.KPI_JOB, JobUpdate={**update, "Command": command})

    wait_until(lambda: not pipeline.outstanding().running, seconds=120, what="the Lambda's runs to end")
    yield put
    glue.update_job(JobName=layout.KPI_JOB, JobUpdate=update)


@pytest.fixture
def alerts(cloud: Cloud) -> Iterator[tuple[str, Callable[[], list[str]]]]:
    """A topic, and what has been published to it."""
    sns, sqs = cloud.client("sns"), cloud.client("sqs")
    topic, queue = sns.create_topic(Name="alerts")["TopicArn"], sqs.create_queue(QueueName="alerts")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"})

    def receive() -> list[str]:
        answer = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=2, MaxNumberOfMessages=10)
        return [message["Body"] for message in answer.get("Messages", [])]

    yield topic, receive
    sns.delete_topic(TopicArn=topic)
    sqs.delete_queue(QueueUrl=queue)


def send(connection: Connection, folder: Path) -> Truth:
    made = SyntheticSettings(seed=11, events=400, start=first_date(), dates=1)
    put_dimensions(Pipeline(connection), folder, sizes=producer.size_catalog(made))
    target = producer.Target(
        connect=producer_connect(connection),
        stream=connection.places.stream,
        pace=producer.Pace(),
        delivery=DeliverySettings(aggregate_bytes=AGGREGATE_BYTES),
        seed=11,
    )
    sent = producer.produce(target, made, catalog_directory=folder, manifest_directory=folder / "truth")
    return sent.manifest.truth


@pytest.fixture(scope="module")
def driven(cloud: Cloud, connection: Connection, airflow: Airflow) -> tuple[Truth, DagRun]:
    """Listens that the DAG and the Lambda have both brought to their end; the DAG was there first, and waited."""
    pipeline = Pipeline(connection)
    started = airflow.start_dag({}, input_timeout_seconds="300")
    try:
        truth = send(connection, cloud.state / "sent")
        pipeline.start(layout.INGEST_JOB, {"--drain": "true", "--trigger_seconds": "1"})
        run = started.wait(500)
    finally:
        started.close()
    expected = truth.counts.acknowledged
    wait_until(lambda: pipeline.outstanding().is_quiet(expected=expected), seconds=120, what="the Lambda's runs")
    return truth, run


@pytest.mark.timeout(900)
def test_the_dag_and_the_lambda_together_serve_the_truth(connection: Connection, driven: tuple[Truth, DagRun]) -> None:
    truth, run = driven
    pipeline = Pipeline(connection)
    comparison = compare(
        read_served(connection.client("dynamodb"), connection.places),
        genres=truth.genres,
        top_genres=truth.top_genres,
        rejects=((one["reason"], one["shard_id"], one["sequence_number"], one["line"]) for one in truth.rejects),
        found_rejects=pipeline.rejects(),
    )
    assert comparison.is_equal, comparison.differences
    assert comparison.items_compared > 50
    # Waiting for the Lambda's runs has cost no try.
    tasks = ("check_request", "dimension_files", "batches", *BATCH_JOBS, "audit")
    assert run.tasks == dict.fromkeys(tasks, ("success", 1)), run.log[-5000:]
    by_job = {job: sorted(pipeline.runs(job), key=lambda one: one["StartedOn"]) for job in BATCH_JOBS}
    # Of one job alone it may have had no need: what a run of the DAG has merged waits no longer.
    assert any(OF_LAMBDA in one["Arguments"] for runs in by_job.values() for one in runs), "the Lambda was there too"
    for runs in by_job.values():
        assert {one["JobRunState"] for one in runs} == {"SUCCEEDED"}
        assert len([one for one in runs if OF_DAG in one["Arguments"]]) == 1
        assert all(before["CompletedOn"] <= after["StartedOn"] for before, after in pairwise(runs))


@pytest.mark.usefixtures("driven")
def test_without_batches_the_merge_is_skipped_and_kpis_wait_their_turn(
    cloud: Cloud, airflow: Airflow, play: Callable[[str], None], tmp_path: Path
) -> None:
    glue = cloud.client("glue")
    play(PASS_OR_HOLD)
    hold = tmp_path / "hold"
    hold.touch()
    holder = glue.start_job_run(JobName=layout.KPI_JOB, Arguments={"--hold": str(hold)})["JobRunId"]
    started = airflow.start_dag({}, input_timeout_seconds="1")
    try:
        wait_until(lambda: BUSY in started.log, seconds=90, what="the DAG to meet the other run")
        hold.unlink()
        run = started.wait(90)
    finally:
        hold.unlink(missing_ok=True)
        started.close()
    assert run.tasks[layout.KPI_JOB] == ("success", 1)
    assert run.states == {
        "check_request": "success",
        "dimension_files": "success",
        "batches": "skipped",
        layout.TRANSFORM_JOB: "skipped",
        layout.KPI_JOB: "success",
        "audit": "success",
    }
    first = glue.get_job_run(JobName=layout.KPI_JOB, RunId=holder)["JobRun"]
    own = next(one for one in glue.get_job_runs(JobName=layout.KPI_JOB)["JobRuns"] if OF_DAG in one["Arguments"])
    assert own["StartedOn"] >= first["CompletedOn"]
    assert own["Arguments"]["--mode"] == "incremental"


def test_a_failing_job_is_tried_again_and_alerts(
    cloud: Cloud,
    airflow: Airflow,
    play: Callable[[str], None],
    alerts: tuple[str, Callable[[], list[str]]],
) -> None:
    play(FAIL)
    topic, receive = alerts
    glue = cloud.client("glue")
    before = len(glue.get_job_runs(JobName=layout.KPI_JOB)["JobRuns"])
    run = airflow.run_dag(RECOMPUTE, alert_topic=topic)
    assert run.state == "failed"
    assert run.tasks[layout.KPI_JOB] == ("failed", 2)
    skipped = dict.fromkeys(("dimension_files", "batches", layout.TRANSFORM_JOB), "skipped")
    assert {**run.states, layout.KPI_JOB: ""} == {
        **skipped,
        "check_request": "success",
        layout.KPI_JOB: "",
        "audit": "upstream_failed",
    }
    runs = glue.get_job_runs(JobName=layout.KPI_JOB)["JobRuns"][: -before or None]
    assert [(one["JobRunState"], SECRET in one["ErrorMessage"]) for one in runs] == [("FAILED", True)] * 2
    wanted = {
        "--mode": "recompute",
        "--from_date": "2024-06-25",
        "--to_date": "2024-06-26",
        "--repair": "true",
    }
    assert all(wanted.items() <= one["Arguments"].items() for one in runs)
    (message,) = receive()
    assert f"task {layout.KPI_JOB} of run manual__" in message
    assert "failed at try 2" in message
    assert SECRET not in message


@pytest.mark.usefixtures("driven")
def test_an_audit_that_does_not_add_up_fails_and_alerts(
    cloud: Cloud,
    airflow: Airflow,
    play: Callable[[str], None],
    alerts: tuple[str, Callable[[], list[str]]],
) -> None:
    play(PASS_OR_HOLD)
    topic, receive = alerts
    dynamodb, table = cloud.client("dynamodb"), cloud.places.daily_listens_table
    item: dict[str, Any] = dynamodb.scan(TableName=table)["Items"][0]
    names = [part["AttributeName"] for part in dynamodb.describe_table(TableName=table)["Table"]["KeySchema"]]
    dynamodb.delete_item(TableName=table, Key={name: item[name] for name in names})
    run = airflow.run_dag({"mode": "recompute"}, alert_topic=topic)
    dynamodb.put_item(TableName=table, Item=item)
    assert run.state == "failed"
    assert run.tasks["audit"] == ("failed", 2)
    assert run.tasks[layout.KPI_JOB] == ("success", 1)
    assert "the audit found 1 differences: dynamodb: lost at" in run.log
    (message,) = receive()
    assert "task audit of run manual__" in message
