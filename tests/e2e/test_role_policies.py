"""The demo with the deployed roles' policies evaluated for each call that its jobs and its Lambda make.

A refused call is answered as AWS would. What the emulator has no part in, KMS for one, is in
`tests/infra/calls_of_aws.py`; what the roles must not do, in `tests/infra/test_role_policies.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from lakehouse import layout
from listenlake.connection import connect
from listenlake.demo import DemoResult, DemoSettings, run_demo
from listenlake.pipeline import BATCH_JOBS, FAILED, Pipeline
from local_cloud import lifecycle
from local_cloud.clients import make_client
from local_cloud.cloud import Cloud
from local_cloud.options import ACCOUNT, REGION, CloudOptions
from local_cloud.supervisor import free_port
from tests.deployed_templates import placed_templates
from tests.e2e.loopback_proxy import Call, Proxied, loopback_proxy
from tests.e2e.role_judge import RoleJudge
from tests.e2e.waiting import wait_until_run_ends
from tests.infra.calls_of_aws import in_their_name
from tests.infra.role_policies import INGEST, KPI, ROLES, TRANSFORM, Policies

# Refused on purpose, and no run minds: on its first write of a table Delta looks whether one lies around it, and takes
# a refusal for none; S3A looks whether a new folder's parents are folders. To allow it would let a role see what others
# keep beside its own.
LOOKS_ABOVE = {
    (INGEST, "s3:ListBucket", "checkpoints/"),
    (TRANSFORM, "s3:ListBucket", "dimensions/"),
    (TRANSFORM, "s3:ListBucket", "transformed-data/"),
    (TRANSFORM, "s3:GetObject", "transformed-data/_delta_log"),
    (KPI, "s3:ListBucket", "transformed-data/"),
    (KPI, "s3:GetObject", "transformed-data/_delta_log"),
    (KPI, "s3:GetObject", "_delta_log"),
}


@dataclass(frozen=True)
class Judged:
    """A local cloud whose jobs and Lambda reach it through a judge at `url`."""

    cloud: Cloud
    judge: RoleJudge
    url: str


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judged]:
    state: Path = tmp_path_factory.mktemp("cloud")
    port = free_port()
    judge = RoleJudge(Policies({}, ACCOUNT, REGION))
    running: list[Cloud] = []

    def upstream(call: Call) -> str:
        return running[0].record.glue_endpoint if call.target.startswith("AWSGlue.") else f"http://127.0.0.1:{port}"

    with (
        loopback_proxy(Proxied(upstream=upstream, intervene=judge.intervene, hear=judge.hear)) as url,
        lifecycle.up(state, port=port, options=CloudOptions(stop_grace_seconds=20.0, proxy=url)) as cloud,
    ):
        running.append(cloud)
        judge.policies = Policies(placed_templates(cloud), ACCOUNT, REGION)
        yield Judged(cloud, judge, url)


@pytest.fixture(scope="module")
def demo(judged: Judged) -> DemoResult:
    """The demo with a CSV file of which nothing is accepted, then a sweep, and the end of ingestion."""
    connection = connect(judged.cloud.state)
    pipeline = Pipeline(connection)
    pipeline.upload(f"{layout.DROPS}by-hand.csv", b"user_id,track_id,listen_time\nnobody,,\n")
    settings = DemoSettings(events=600, seed=5, rate=100.0, timeout_seconds=400)
    result = run_demo(connection, settings, judged.cloud.state / "demo", print)
    pipeline.sweep()
    (run,) = pipeline.runs(layout.INGEST_JOB)
    wait_until_run_ends(connection.client("glue"), layout.INGEST_JOB, run["Id"])
    return result


@pytest.mark.timeout(900)
def test_the_pipeline_does_its_work_with_what_its_roles_may_do(judged: Judged, demo: DemoResult) -> None:
    assert demo.comparison.differences == ()
    assert demo.is_equal
    judge = judged.judge
    assert judge.unknown == []
    denied = {
        (role, request.action, request.context.get("s3:prefix") or request.resource.partition("/")[2])
        for role, request in judge.denied
    }
    assert denied <= LOOKS_ABOVE
    pipeline = Pipeline(connect(judged.cloud.state))
    assert [run for job in BATCH_JOBS for run in pipeline.runs(job) if run["JobRunState"] in FAILED] == []


@pytest.mark.usefixtures("demo")
@pytest.mark.parametrize("role", ROLES)
def test_nothing_is_granted_that_no_call_uses(judged: Judged, role: str) -> None:
    policies = judged.judge.policies
    calls = [*judged.judge.allowed[role], *in_their_name(policies, judged.cloud.places)[role]]
    assert policies.uncalled(role, calls) == []


def calls_that_are_refused(judged: Judged) -> Iterator[tuple[str, str, dict[str, Any], str]]:
    places = judged.cloud.places
    yield layout.INGEST_JOB, "put_object", {"Bucket": places.curated_bucket, "Key": "x", "Body": b""}, "s3"
    yield layout.INGEST_JOB, "list_objects_v2", {"Bucket": places.raw_bucket}, "s3"
    yield layout.TRANSFORM_JOB, "get_shard_iterator", stream_start(places.stream), "kinesis"
    yield layout.KPI_JOB, "scan", {"TableName": places.control_table}, "dynamodb"
    yield layout.KPI_JOB, "delete_objects", delete(places.presentation_bucket, "logs/x", "elsewhere/x"), "s3"
    yield ACCOUNT, "start_job_run", {"JobName": layout.INGEST_JOB}, "glue"


def stream_start(stream: str) -> dict[str, Any]:
    return {"StreamName": stream, "ShardId": "shardId-000000000000", "ShardIteratorType": "LATEST"}


def delete(bucket: str, *keys: str) -> dict[str, Any]:
    return {"Bucket": bucket, "Delete": {"Objects": [{"Key": key} for key in keys]}}


def test_the_judge_refuses_what_a_role_may_not_do(judged: Judged) -> None:
    for caller, name, request, service in calls_that_are_refused(judged):
        with pytest.raises(ClientError, match="AccessDenied"):
            getattr(make_client(service, judged.url, access_key=caller), name)(**request)
    assert make_client("s3", judged.url).list_buckets()["Buckets"], "nobody else is judged"
