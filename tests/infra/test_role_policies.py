"""What each role needs it may do, what it must not it may not, and nothing is granted that no call uses."""

import copy
from collections.abc import Iterable
from typing import Any

import pytest

from tests.infra.role_policies import ACCOUNT, REGION, Policies, Request

INGEST, TRANSFORM, KPI, TRIGGER = "JobsIngestRole", "JobsTransformRole", "JobsKpiRole", "TriggerRole"
ROLES = (INGEST, TRANSFORM, KPI, TRIGGER)
RAW, CURATED, PRESENTATION = "acme-lab3-raw", "acme-lab3-curated", "acme-lab3-presentation-data"
CONTROL, DAILY, CHARTS = "listenlake_control", "daily_listens_by_genre", "top_genres_by_date"
READ = ("GetObject",)
OWN = ("GetObject", "PutObject", "DeleteObject", "AbortMultipartUpload")


def objects(bucket: str, prefix: str, actions: Iterable[str]) -> list[Request]:
    """Calls on an object under a prefix, on the prefix's bare name (S3A probes it), and its listing."""
    keys = (prefix, f"{prefix}/part=1/file")
    return [
        *(Request(f"s3:{action}", f"arn:aws:s3:::{bucket}/{key}") for action in actions for key in keys),
        *(Request("s3:ListBucket", f"arn:aws:s3:::{bucket}", {"s3:prefix": key}) for key in (prefix, f"{prefix}/")),
    ]


def items(table: str, *actions: str) -> list[Request]:
    return [Request(f"dynamodb:{action}", f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{table}") for action in actions]


def stream(*actions: str) -> list[Request]:
    return [Request(f"kinesis:{action}", f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/listens") for action in actions]


def job(name: str, *actions: str) -> list[Request]:
    return [Request(f"glue:{action}", f"arn:aws:glue:{REGION}:{ACCOUNT}:job/{name}") for action in actions]


def key(policies: Policies, service: str, *actions: str) -> list[Request]:
    """Calls of KMS that a service makes in the role's name; with no service, the role's own."""
    (name,) = (
        name
        for template in policies.templates.values()
        for name, resource in template["Resources"].items()
        if resource["Type"] == "AWS::KMS::Key"
    )
    context = {"kms:ViaService": f"{service}.{REGION}.amazonaws.com"} if service else {}
    return [Request(f"kms:{action}", f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{name}", context) for action in actions]


def glue_writes() -> list[Request]:
    """What Glue calls in the name of a job's role; log groups as its documentation names them."""
    group = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws-glue/jobs/output:log-stream:jr_1"
    logs = ("CreateLogGroup", "CreateLogStream", "PutLogEvents", "AssociateKmsKey")
    figures = Request("cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": "Glue"})
    return [*(Request(f"logs:{action}", group) for action in logs), figures]


def needed(policies: Policies) -> dict[str, list[Request]]:
    """The calls that the code makes, read from it and from the documentation of S3A and of Glue."""
    lease = items(CONTROL, "GetItem", "PutItem", "UpdateItem", "DeleteItem")
    writes = [*key(policies, "s3", "Decrypt", "GenerateDataKey"), *glue_writes()]
    return {
        INGEST: [
            *stream("DescribeStreamSummary", "ListShards", "GetShardIterator", "GetRecords"),
            *key(policies, "kinesis", "Decrypt"),
            *objects(RAW, "streams", READ),
            *objects(RAW, "archives", READ),
            *objects(RAW, "processed-streams", OWN),
            *objects(RAW, "bad-records", OWN),
            *objects(RAW, "checkpoints/ingest_listens", OWN),
            *lease,
            *writes,
        ],
        TRANSFORM: [
            *objects(RAW, "users", READ),
            *objects(RAW, "songs", READ),
            *objects(RAW, "processed-streams", OWN),
            *objects(RAW, "archives", OWN),
            *objects(RAW, "bad-records", OWN),
            *objects(CURATED, "transformed-data/latest", OWN),
            *objects(CURATED, "dimensions/users", OWN),
            *objects(CURATED, "dimensions/songs", OWN),
            *lease,
            *writes,
        ],
        KPI: [
            *objects(CURATED, "transformed-data/latest", READ),
            *objects(CURATED, "transformed-data/archive", OWN),
            *objects(CURATED, "transformed-data/partials", OWN),
            *objects(PRESENTATION, "daily_listens", OWN),
            *objects(PRESENTATION, "top_genres", OWN),
            *objects(PRESENTATION, "logs", OWN),
            *items(DAILY, "PutItem", "Scan"),
            *items(CHARTS, "PutItem", "Scan"),
            *lease,
            *writes,
        ],
        TRIGGER: [
            *job("batch_transform", "StartJobRun", "GetJobRun", "GetJobRuns"),
            *job("kpi_transformation", "StartJobRun", "GetJobRun", "GetJobRuns"),
            Request("s3:ListBucket", f"arn:aws:s3:::{RAW}", {"s3:prefix": "processed-streams/"}),
            *items(CONTROL, "GetItem", "UpdateItem"),
        ],
    }


def forbidden(policies: Policies) -> dict[str, list[Request]]:
    """What a role that was stolen, or a job with a fault, must not be able to do."""
    everywhere = [
        Request("s3:ListAllMyBuckets", "*"),
        Request("s3:DeleteBucket", f"arn:aws:s3:::{RAW}"),
        Request("s3:PutBucketPolicy", f"arn:aws:s3:::{RAW}"),
        Request("s3:ListBucket", f"arn:aws:s3:::{RAW}", {"s3:prefix": ""}),
        Request("s3:ListBucket", f"arn:aws:s3:::{RAW}"),
        Request("s3:GetObject", "arn:aws:s3:::someone-elses-bucket/processed-streams/file"),
        Request("s3:PutObject", "arn:aws:s3:::acme-lab3-access-logs/file"),
        Request("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/any"),
        Request("sts:AssumeRole", f"arn:aws:iam::{ACCOUNT}:role/any"),
        Request("cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": "AWS/Kinesis"}),
        *stream("PutRecord", "PutRecords", "DeleteStream", "MergeShards"),
        *items(CONTROL, "DeleteTable", "Scan"),
        *items(DAILY, "DeleteItem", "DeleteTable"),
        *key(policies, "", "Decrypt", "GenerateDataKey", "ScheduleKeyDeletion", "PutKeyPolicy"),
        *key(policies, "dynamodb", "Decrypt"),
        *job("ingest_listens", "StartJobRun", "UpdateJob", "DeleteJob"),
    ]
    return {
        INGEST: [
            *everywhere,
            *objects(CURATED, "transformed-data/latest", OWN),
            *objects(RAW, "users", OWN),
            *items(DAILY, "PutItem"),
            *key(policies, "kinesis", "GenerateDataKey"),
        ],
        TRANSFORM: [
            *everywhere,
            *stream("GetRecords"),
            *(
                request
                for request in objects(RAW, "users", OWN)
                if request.action not in ("s3:GetObject", "s3:ListBucket")
            ),
            *objects(RAW, "checkpoints/ingest_listens", OWN),
            *objects(PRESENTATION, "daily_listens", OWN),
            *items(DAILY, "PutItem"),
            *key(policies, "kinesis", "Decrypt"),
        ],
        KPI: [
            *everywhere,
            *stream("GetRecords"),
            *objects(RAW, "processed-streams", OWN),
            *(
                request
                for request in objects(CURATED, "transformed-data/latest", OWN)
                if request.action not in ("s3:GetObject", "s3:ListBucket")
            ),
            *items(DAILY, "GetItem", "Query", "UpdateItem"),
            *job("kpi_transformation", "StartJobRun"),
        ],
        TRIGGER: [
            *everywhere,
            Request("s3:GetObject", f"arn:aws:s3:::{RAW}/processed-streams/file"),
            *job("batch_transform", "BatchStopJobRun", "UpdateJob"),
            *items(CONTROL, "PutItem", "DeleteItem"),
            *items(DAILY, "PutItem"),
            *key(policies, "s3", "Decrypt"),
        ],
    }


@pytest.fixture(scope="module")
def policies(templates: dict[str, dict[str, Any]]) -> Policies:
    return Policies(templates)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_do_what_its_code_does(policies: Policies, role: str) -> None:
    assert [request for request in needed(policies)[role] if not policies.allows(role, request)] == []


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_not_do_what_it_must_not(policies: Policies, role: str) -> None:
    assert [request for request in forbidden(policies)[role] if policies.allows(role, request)] == []


# Granted without a call of the code: why.
UNCALLED = {
    INGEST: {"s3:GetObject": "Glue fetches the script and the wheel in the role's name."},
    TRANSFORM: {"s3:GetObject": "Glue fetches the script and the wheel in the role's name."},
    KPI: {"s3:GetObject": "Glue fetches the script and the wheel in the role's name."},
    TRIGGER: {
        "logs:CreateLogStream": "Lambda writes the function's log in the role's name.",
        "logs:PutLogEvents": "Lambda writes the function's log in the role's name.",
        "sqs:ReceiveMessage": "Lambda reads the queue in the role's name.",
        "sqs:DeleteMessage": "Lambda reads the queue in the role's name.",
        "sqs:ChangeMessageVisibility": "Lambda reads the queue in the role's name.",
        "sqs:GetQueueAttributes": "Lambda reads the queue in the role's name.",
        "sqs:GetQueueUrl": "Lambda reads the queue in the role's name.",
    },
}


def with_one_statement(templates: dict[str, dict[str, Any]], role: str, number: int) -> Policies:
    """Return policies in which the role has one of its statements only."""
    reduced = copy.deepcopy(templates)
    seen = 0
    for template in reduced.values():
        for resource in template["Resources"].values():
            if resource["Type"] != "AWS::IAM::Policy" or not resource["Properties"]["Roles"][0]["Ref"].startswith(role):
                continue
            document = resource["Properties"]["PolicyDocument"]
            kept = [s for i, s in enumerate(document["Statement"], start=seen) if i == number]
            seen += len(document["Statement"])
            document["Statement"] = kept or [{"Effect": "Allow", "Action": "none:None", "Resource": "none"}]
    return Policies(reduced)


@pytest.mark.parametrize("role", ROLES)
def test_every_action_of_every_statement_is_needed(
    policies: Policies, templates: dict[str, dict[str, Any]], role: str
) -> None:
    unused = []
    for number, statement in enumerate(policies.statements(role)):
        alone = with_one_statement(templates, role, number)
        used = {request.action for request in needed(policies)[role] if alone.allows(role, request)}
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        unused += [(number, action) for action in actions if action not in used and action not in UNCALLED[role]]
    assert unused == []


@pytest.mark.parametrize("role", ROLES)
def test_a_removed_grant_is_noticed(policies: Policies, templates: dict[str, dict[str, Any]], role: str) -> None:
    for number, statement in enumerate(policies.statements(role)):
        reduced = copy.deepcopy(templates)
        (left,) = (
            resource["Properties"]["PolicyDocument"]["Statement"]
            for template in reduced.values()
            for resource in template["Resources"].values()
            if resource["Type"] == "AWS::IAM::Policy" and resource["Properties"]["Roles"][0]["Ref"].startswith(role)
        )
        del left[number]
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        if set(actions) <= UNCALLED[role].keys():
            continue
        refused = [request for request in needed(policies)[role] if not Policies(reduced).allows(role, request)]
        assert refused, statement
