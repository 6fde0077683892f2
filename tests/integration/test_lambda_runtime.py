"""The Lambda's asset under AWS's own runtime interface client, against the local cloud."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from infra.code_assets import copy_lambda_code
from infra.configuration import PROJECT
from lakehouse.settings import TriggerSettings
from local_cloud.cloud import Cloud
from tests.integration.lambda_runtime import function

HANDLER = "lambdas.start_jobs.handler.lambda_handler"
IDLE = {name: {"outcome": "idle"} for name in ("batch_transform", "kpi_transformation", "kpi_recompute")}


@pytest.fixture
def environment(cloud: Cloud) -> dict[str, str]:
    """The function's variables, with a bucket and a control table of its own: nothing there asks for a job."""
    name = f"runtime-{uuid.uuid4().hex[:8]}"
    bucket = f"{name}-lab3-raw"
    cloud.client("s3").create_bucket(Bucket=bucket)
    keys = ("pk", "HASH"), ("sk", "RANGE")
    cloud.client("dynamodb").create_table(
        TableName=name,
        KeySchema=[{"AttributeName": key, "KeyType": kind} for key, kind in keys],
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key, _ in keys],
        BillingMode="PAY_PER_REQUEST",
    )
    settings = TriggerSettings(raw_bucket=bucket, curated_bucket="-", presentation_bucket="-", control_table=name)
    return cloud.environment | settings.to_environment()


def test_the_asset_runs_as_lambda_runs_it(environment: dict[str, str], tmp_path: Path) -> None:
    detail = {"jobName": "batch_transform", "jobRunId": "jr_unknown", "state": "SUCCEEDED"}
    ended = {"source": "aws.glue", "detail-type": "Glue Job State Change", "detail": detail}
    bodies = {"sweep": json.dumps({"request": "sweep"}), "unreadable": "no JSON", "unknown": json.dumps(ended)}
    records = [{"messageId": name, "body": body, "eventSource": "aws:sqs"} for name, body in bodies.items()]
    code = copy_lambda_code(PROJECT, tmp_path / "asset")
    output = tmp_path / "output"
    with output.open("w") as log, function(code, HANDLER, environment, log) as runtime:
        answers = [
            runtime.invoke("first", {"Records": records}),
            runtime.invoke("second", {"request": "sweep"}),
            runtime.invoke("third", {"request": "everything"}),
        ]
    failed = [{"itemIdentifier": name} for name in ("unreadable", "unknown")]
    assert answers[:2] == [("response", {"batchItemFailures": failed}), ("response", IDLE)]
    kind, error = answers[2]
    assert (kind, error["errorType"]) == ("error", "UnknownMessageError")

    lines = [json.loads(line) for line in output.read_text().splitlines() if line.startswith("{")]
    metrics = [line for line in lines if "_aws" in line]
    assert [(line["messages"], line.get("messages_failed")) for line in metrics] == [
        ([3.0], [2.0]),
        ([1.0], None),
        ([1.0], None),
    ]
    failures = {line["message_id"]: line for line in lines if line.get("level") == "ERROR"}
    assert failures.keys() == {"unreadable", "unknown"}
    assert failures["unknown"]["function_request_id"] == "first"
    assert failures["unknown"]["exception_name"] == "EntityNotFoundException"
