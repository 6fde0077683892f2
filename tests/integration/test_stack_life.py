"""A stack after its first deployment: nothing to do, a change, its end. By the real CDK, on a cloud of its own.

What is deployed is synthesised anew in this process, so `no changes` also says that the same sources give the same
assembly. What the emulator does otherwise than AWS here is in `local_cloud/emulator_gaps.py`.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra import configuration as placements
from infra import hints
from infra.app import build_app
from infra.code_assets import GLUE_ROOMS, LAMBDA_ROOMS
from infra.configuration import PROJECT, Configuration
from infra.environments import ENVIRONMENTS, Environment
from lakehouse import layout
from local_cloud import lifecycle
from local_cloud.assembly import ENVIRONMENT
from local_cloud.cloud import Cloud
from local_cloud.deploy import Deployment
from local_cloud.environment import host_environment
from local_cloud.errors import DeployError
from local_cloud.options import CloudOptions
from local_cloud.state import State
from local_cloud.toolchain import Toolchain
from tests.integration.deployed_resources import ASK

STACKS = [f"Listenlake-{ENVIRONMENT}-{name}" for name in ("Data", "Pipeline")]
# What the CDK's own stack holds, which no stack of ours takes along.
BOOTSTRAPPED = "cdk-"
# What `infra/environments.py` promises to keep.
KEPT = {"AWS::DynamoDB::GlobalTable", "AWS::KMS::Key", "AWS::Kinesis::Stream", "AWS::S3::Bucket"}
CODE_SUFFIX = "# the next release\n"

Synthesise = Callable[..., Path]


@pytest.fixture(scope="module")
def placed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A cloud that no other module sees the stack of."""
    with lifecycle.up(tmp_path_factory.mktemp("cloud"), options=CloudOptions(stop_grace_seconds=5.0)) as running:
        yield running


@pytest.fixture(scope="module")
def cdk(placed: Cloud) -> Deployment:
    return Deployment(
        state=State(placed.state),
        tools=Toolchain.load(PROJECT / ".tools"),
        host=host_environment(),
        endpoint=placed.record.endpoint,
        glue_endpoint=placed.record.glue_endpoint,
    )


def synthesised(cloud: Cloud, folder: Path, **others: Any) -> Path:
    options = cloud.record.options
    one = Configuration(prefix=options.prefix, environment=ENVIRONMENT, shards=str(options.shards), **others)
    build_app(one, outdir=str(folder)).synth()
    return folder


@pytest.fixture(scope="module")
def unchanged(placed: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The assembly of what is deployed, made a second time."""
    return synthesised(placed, tmp_path_factory.mktemp("synthesis") / "assembly")


@pytest.fixture
def synthesise(placed: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Synthesise:
    """Returns the assembly of this placement with other promises."""

    def make(promises: Environment, **others: Any) -> Path:
        monkeypatch.setattr(placements, "ENVIRONMENTS", {ENVIRONMENT: promises})
        return synthesised(placed, tmp_path / "assembly", **others)

    return make


def put_data(cloud: Cloud) -> Callable[[], tuple[Any, ...]]:
    """Put an object, an item and a record into the stack, and return what reads them again."""
    s3, dynamodb, kinesis = (cloud.client(service) for service in ("s3", "dynamodb", "kinesis"))
    bucket, table, stream = cloud.places.raw_bucket, cloud.places.control_table, cloud.places.stream

    def read() -> tuple[Any, ...]:
        shards = [shard["ShardId"] for shard in kinesis.list_shards(StreamName=stream)["Shards"]]
        starts = [
            kinesis.get_shard_iterator(StreamName=stream, ShardId=shard, ShardIteratorType="TRIM_HORIZON")
            for shard in shards
        ]
        records = [r["Data"] for s in starts for r in kinesis.get_records(ShardIterator=s["ShardIterator"])["Records"]]
        body = s3.get_object(Bucket=bucket, Key=layout.USERS_KEY)["Body"].read()
        return body, dynamodb.scan(TableName=table)["Items"], records

    s3.put_object(Bucket=bucket, Key=layout.USERS_KEY, Body=b"users")
    dynamodb.put_item(TableName=table, Item={"pk": {"S": "kept"}, "sk": {"S": "kept"}})
    kinesis.put_record(StreamName=stream, Data=b"listen", PartitionKey="1")
    assert read() == (b"users", [{"pk": {"S": "kept"}, "sk": {"S": "kept"}}], [b"listen"])
    return read


def next_release(folder: Path) -> Path:
    """Copy what is shipped, with a line more in the Lambda and in one job."""
    for room in {*GLUE_ROOMS, *LAMBDA_ROOMS}:
        shutil.copytree(PROJECT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", folder)
    for changed in ("lambdas/start_jobs/handler.py", "batch_jobs/batch_transform.py"):
        with (folder / changed).open("a") as source:
            source.write(CODE_SUFFIX)
    return folder


def left(cloud: Cloud) -> set[tuple[str, str]]:
    """What is there beside the CDK's own, as (type, name); a key that waits for its deletion is gone."""
    kms = cloud.client("kms")
    found = {(kind, name) for kind, ask in ASK.items() for name in ask(cloud) if not name.startswith(BOOTSTRAPPED)}
    keys = {name for kind, name in found if kind == "AWS::KMS::Key"}
    doomed = {k for k in keys if kms.describe_key(KeyId=k)["KeyMetadata"]["KeyState"] == "PendingDeletion"}
    return {(kind, name) for kind, name in found if name not in doomed}


def test_a_second_deployment_has_nothing_to_do(placed: Cloud, cdk: Deployment, unchanged: Path) -> None:
    before = left(placed)
    assert "Number of stacks with differences: 0" in cdk.run("diff", "--app", str(unchanged), "--fail")
    deployed = cdk.run("deploy", "--app", str(unchanged), "--all", "--require-approval", "never")
    assert [stack for stack in STACKS if f"{stack} (no changes)" in deployed] == STACKS
    assert left(placed) == before


def test_a_change_arrives_and_data_stays(
    placed: Cloud, cdk: Deployment, synthesise: Synthesise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = put_data(placed)
    before, there = read(), left(placed)
    monkeypatch.setattr(hints, "SWEEP_MINUTES", 7)
    promises = replace(ENVIRONMENTS[ENVIRONMENT], stream_hours=72)
    changed = synthesise(promises, tags={"team": "listening"}, project=next_release(tmp_path / "release"))
    with pytest.raises(DeployError, match="exit code 1"):
        cdk.run("diff", "--app", str(changed), "--fail")
    cdk.deploy(changed)

    stream = {"StreamName": placed.places.stream}
    kinesis = placed.client("kinesis")
    assert kinesis.describe_stream_summary(**stream)["StreamDescriptionSummary"]["RetentionPeriodHours"] == 72
    tags = {tag["Key"]: tag["Value"] for tag in kinesis.list_tags_for_stream(**stream)["Tags"]}
    assert tags.items() >= {"team": "listening", "project": "listenlake", "environment": ENVIRONMENT}.items()
    scheduler = placed.client("scheduler")
    schedules = [scheduler.get_schedule(Name=name) for name in ASK["AWS::Scheduler::Schedule"](placed)]
    assert sorted(schedule["ScheduleExpression"] for schedule in schedules) == ["rate(1 hour)", "rate(7 minutes)"]
    job = placed.client("glue").get_job(JobName=layout.TRANSFORM_JOB)["Job"]
    bucket, _, key = job["Command"]["ScriptLocation"].removeprefix("s3://").partition("/")
    assert placed.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read().decode().endswith(CODE_SUFFIX)
    woken = placed.client("lambda").invoke(FunctionName="start_jobs", Payload=b'{"request": "sweep"}')
    assert b'"batch_transform": {"outcome": "idle"}' in woken["Payload"].read()

    assert "Number of stacks with differences: 0" in cdk.run("diff", "--app", str(changed), "--fail")
    assert left(placed) == there, "nothing was replaced"
    assert read() == before


def test_a_trial_stack_leaves_nothing(placed: Cloud, cdk: Deployment, unchanged: Path) -> None:
    assert len(left(placed)) > 20
    cdk.run("destroy", "--app", str(unchanged), "--all", "--force")
    assert left(placed) == set()


def test_a_productive_stack_keeps_its_data(placed: Cloud, cdk: Deployment, synthesise: Synthesise) -> None:
    # As prod, but for alarms and a stream on demand, which the emulator does not do.
    assembly = synthesise(replace(ENVIRONMENTS["prod"], watched=False, shards=2))
    cdk.deploy(assembly)
    read = put_data(placed)
    before, everything = read(), left(placed)
    with pytest.raises(DeployError, match="TerminationProtection"):
        cdk.run("destroy", "--app", str(assembly), "--all", "--force")
    formation = placed.client("cloudformation")
    formation.update_termination_protection(StackName=STACKS[0], EnableTerminationProtection=False)
    cdk.run("destroy", "--app", str(assembly), "--all", "--force")
    assert left(placed) == {(kind, name) for kind, name in everything if kind in KEPT}
    assert read() == before
