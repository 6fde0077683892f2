"""What a role must not do it may not, and AWS may do in its name what it has to.

That each may do what its code calls, and that nothing is granted which no call uses, is shown by a run of the pipeline
under these policies: `tests/e2e/test_role_policies.py`.
"""

from collections.abc import Iterable
from typing import Any

import pytest

from lakehouse.settings import Places
from tests.infra.calls_of_aws import in_their_name, key
from tests.infra.role_policies import ACCOUNT, INGEST, KPI, REGION, ROLES, TRANSFORM, TRIGGER, Policies, Request

RAW, CURATED, PRESENTATION = "acme-lab3-raw", "acme-lab3-curated", "acme-lab3-presentation-data"
CONTROL, DAILY = "listenlake_control", "daily_listens_by_genre"
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
def test_aws_may_do_in_a_roles_name_what_it_has_to(policies: Policies, role: str) -> None:
    needed = in_their_name(policies, Places.with_prefix("acme"))[role]
    assert [request for request in needed if not policies.allows(role, request)] == []


def test_a_grant_without_a_call_is_named(policies: Policies) -> None:
    """With only what AWS calls in its name, all is left that the function itself calls."""
    found = policies.uncalled(TRIGGER, in_their_name(policies, Places.with_prefix("acme"))[TRIGGER])
    of_the_table = {"dynamodb:GetItem", "dynamodb:UpdateItem"}
    of_the_jobs = {"glue:GetJobRun", "glue:GetJobRuns", "glue:StartJobRun"}
    assert {action for action, _ in found} == {*of_the_table, *of_the_jobs, "s3:ListBucket"}


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_not_do_what_it_must_not(policies: Policies, role: str) -> None:
    assert [request for request in forbidden(policies)[role] if policies.allows(role, request)] == []
