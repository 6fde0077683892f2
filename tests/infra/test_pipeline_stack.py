"""Jobs, trigger and roles as AWS gets them."""

import json
import re
from collections.abc import Callable
from typing import Any

from lakehouse.settings import IngestSettings, KpiSettings, Settings, TransformSettings, TriggerSettings

Find = Callable[[str], dict[str, dict[str, Any]]]
SETTINGS: dict[str, Settings] = {
    "ingest_listens": IngestSettings.with_prefix("acme"),
    "batch_transform": TransformSettings.with_prefix("acme"),
    "kpi_transformation": KpiSettings.with_prefix("acme"),
}


def jobs_of(find: Find) -> dict[str, dict[str, Any]]:
    return {job["Name"]: job for job in find("AWS::Glue::Job").values()}


def test_what_a_job_parses_is_what_was_declared(find: Find) -> None:
    jobs = jobs_of(find)
    assert jobs.keys() == SETTINGS.keys()
    for name, settings in SETTINGS.items():
        words = [word for pair in jobs[name]["DefaultArguments"].items() for word in pair]
        # What the CDK fills in at deployment is not text here; none of our own arguments is of that kind.
        assert type(settings).parse([str(word) for word in words], {}) == settings


def test_every_job_runs_once_at_a_time_on_glue_6(find: Find) -> None:
    for name, job in jobs_of(find).items():
        assert job["GlueVersion"] == "6.0"
        streaming = name == "ingest_listens"
        assert (job["WorkerType"], job["NumberOfWorkers"]) == ("G.1X", 4 if streaming else 10)
        assert job["ExecutionProperty"] == {"MaxConcurrentRuns": 1}
        assert job["JobRunQueuingEnabled"] is False
        assert job["Command"]["Name"] == ("gluestreaming" if streaming else "glueetl")
        assert job["MaxRetries"] == (3 if streaming else 0)
        assert job.get("Timeout") == (None if streaming else 60)
        assert job.get("MaintenanceWindow") == ("Sun:03" if streaming else None)
        arguments = job["DefaultArguments"]
        assert arguments["--datalake-formats"] == "delta"
        assert arguments["--enable-auto-scaling"] == arguments["--enable-continuous-cloudwatch-log"] == "true"
        assert "DeltaCatalog" in arguments["--conf"]
        assert arguments["--extra-py-files"]["Fn::Sub"].endswith(".whl")


def test_what_glue_writes_for_a_job_is_encrypted_with_the_lakes_key(find: Find) -> None:
    ((name, configuration),) = find("AWS::Glue::SecurityConfiguration").items()
    assert {job["SecurityConfiguration"]["Ref"] for job in jobs_of(find).values()} == {name}
    encryption = configuration["EncryptionConfiguration"]
    parts = [encryption["CloudWatchEncryption"], encryption["JobBookmarksEncryption"], *encryption["S3Encryptions"]]
    assert [part["KmsKeyArn"]["Fn::ImportValue"].split("Key")[0] for part in parts] == [
        "Listenlake-prod-Data:ExportsOutputFnGetAtt"
    ] * 3


def test_the_lambdas_log_is_encrypted_and_kept_as_long_as_the_environment_says(find: Find) -> None:
    (group,) = find("AWS::Logs::LogGroup").values()
    assert group["RetentionInDays"] == 365
    assert "Fn::ImportValue" in group["KmsKeyId"]


def test_the_lambda_gets_the_settings_that_it_parses(find: Find) -> None:
    (function,) = find("AWS::Lambda::Function").values()
    expected = TriggerSettings.with_prefix("acme")
    assert TriggerSettings.parse([], function["Environment"]["Variables"]) == expected
    assert (function["Runtime"], function["Handler"]) == ("python3.13", "lambdas.start_jobs.handler.lambda_handler")
    (mapping,) = find("AWS::Lambda::EventSourceMapping").values()
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert (mapping["BatchSize"], mapping["ScalingConfig"]) == (10, {"MaximumConcurrency": 2})


def test_hints_that_fail_five_times_are_set_aside(find: Find) -> None:
    queues = find("AWS::SQS::Queue")
    (hints,) = (queue for queue in queues.values() if "RedrivePolicy" in queue)
    dead_letters = hints["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0]
    assert hints["RedrivePolicy"]["maxReceiveCount"] == 5
    assert queues[dead_letters]["MessageRetentionPeriod"] == 14 * 24 * 3600
    (function,) = find("AWS::Lambda::Function").values()
    assert hints["VisibilityTimeout"] >= 6 * function["Timeout"]


def test_rules_tell_batches_from_their_files(find: Find) -> None:
    keys = [
        rule["EventPattern"]["detail"]["object"]["key"][0]
        for rule in find("AWS::Events::Rule").values()
        if rule["EventPattern"]["source"] == ["aws.s3"]
    ]
    matched = {key: any(_matches(pattern, key) for pattern in keys) for key in KEYS}
    assert matched == KEYS


# Written by hand: what may wake the trigger.
KEYS = {
    "processed-streams/generation=g/batch=1/_MANIFEST.json": True,
    "processed-streams/by hand.parquet": True,
    "processed-streams/generation=g/batch=1/attempt=a/part-0.parquet": False,
    "processed-streams/generation=g/batch=1/_TRANSFORMED.json": False,
    "bad-records/generation=g/batch=1/attempt=a/part-0.json": False,
    "archives/generation=g/batch=1/_MANIFEST.json": False,
    "checkpoints/ingest_listens/offsets/0": False,
    "replays/2024-07-01T00:00:00Z-1.json": False,
    "streams/june/streams1.csv": False,
    "users/users.csv": False,
    "songs/songs.csv": False,
}


def _matches(pattern: dict[str, Any], key: str) -> bool:
    """Match as EventBridge does: a star is any number of any characters."""
    if "anything-but" in pattern:
        return not any(_matches({"wildcard": inner}, key) for inner in pattern["anything-but"]["wildcard"])
    return re.fullmatch(".*".join(map(re.escape, pattern["wildcard"].split("*"))), key) is not None


def test_the_end_of_a_batch_job_wakes_the_trigger(find: Find) -> None:
    (pattern,) = (
        rule["EventPattern"]
        for rule in find("AWS::Events::Rule").values()
        if rule["EventPattern"]["source"] == ["aws.glue"] and "InputTransformer" not in rule["Targets"][0]
    )
    assert pattern["detail"]["jobName"] == ["batch_transform", "kpi_transformation"]
    assert set(pattern["detail"]["state"]) == {"SUCCEEDED", "FAILED", "TIMEOUT", "STOPPED", "ERROR"}


def test_the_clock_sweeps_and_recomputes(find: Find) -> None:
    schedules = find("AWS::Scheduler::Schedule").values()
    found = {json.loads(s["Target"]["Input"])["request"]: s["ScheduleExpression"] for s in schedules}
    assert found == {"sweep": "rate(15 minutes)", "kpi_recompute": "rate(1 hour)"}
    assert all("DeadLetterConfig" in schedule["Target"] for schedule in schedules)


def statements_of(find: Find, role: str) -> list[dict[str, Any]]:
    found = [
        statement
        for policy in find("AWS::IAM::Policy").values()
        if any(reference["Ref"].startswith(role) for reference in policy["Roles"])
        for statement in policy["PolicyDocument"]["Statement"]
    ]
    assert found, role
    return found


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_no_role_has_wildcard_actions_or_managed_policies(find: Find) -> None:
    for role in find("AWS::IAM::Role").values():
        assert "ManagedPolicyArns" not in role
    for policy in find("AWS::IAM::Policy").values():
        for statement in policy["PolicyDocument"]["Statement"]:
            assert not [action for action in listed(statement["Action"]) if "*" in action]
            if "*" in listed(statement["Resource"]):
                assert statement["Action"] == "cloudwatch:PutMetricData"
                assert statement["Condition"] == {"StringEquals": {"cloudwatch:namespace": "Glue"}}


def object_paths(statements: list[dict[str, Any]], action: str) -> set[str]:
    """Return the paths within buckets on which an action is allowed."""
    texts = [
        resource["Fn::Join"][1][-1]
        for statement in statements
        if action in listed(statement["Action"])
        for resource in listed(statement["Resource"])
        if isinstance(resource, dict) and "Fn::Join" in resource
    ]
    found = (re.fullmatch(":s3:::acme-lab3-[a-z-]+/(.*)", text) for text in texts)
    return {match[1] for match in found if match}


def both(*prefixes: str) -> set[str]:
    return {path for prefix in prefixes for path in (prefix, f"{prefix}/*")}


def test_each_job_writes_only_what_it_owns(find: Find) -> None:
    ingest, transform, kpi = (statements_of(find, f"Jobs{name}Role") for name in ("Ingest", "Transform", "Kpi"))
    assert object_paths(ingest, "s3:PutObject") == both(
        "processed-streams", "bad-records", "checkpoints/ingest_listens"
    )
    assert object_paths(ingest, "s3:GetObject") - object_paths(ingest, "s3:PutObject") == both("streams", "archives")
    assert object_paths(transform, "s3:PutObject") == both(
        "processed-streams",
        "archives",
        "bad-records",
        "transformed-data/latest",
        "dimensions/users",
        "dimensions/songs",
    )
    assert object_paths(transform, "s3:GetObject") - object_paths(transform, "s3:PutObject") == both("users", "songs")
    assert object_paths(kpi, "s3:PutObject") == both(
        "transformed-data/archive", "transformed-data/partials", "daily_listens", "top_genres", "logs"
    )
    assert object_paths(kpi, "s3:GetObject") - object_paths(kpi, "s3:PutObject") == both("transformed-data/latest")


def test_only_ingestion_reads_the_stream_and_only_the_kpi_job_serves(find: Find) -> None:
    roles = {name: statements_of(find, f"Jobs{name}Role") for name in ("Ingest", "Transform", "Kpi")}
    actions = {
        name: {action for statement in statements for action in listed(statement["Action"])}
        for name, statements in roles.items()
    }
    assert [name for name, allowed in actions.items() if "kinesis:GetRecords" in allowed] == ["Ingest"]
    tables = {
        name: sum(len(listed(statement["Resource"])) for statement in statements if touches_items(statement))
        for name, statements in roles.items()
    }
    assert tables["Ingest"] == tables["Transform"] < tables["Kpi"]


def touches_items(statement: dict[str, Any]) -> bool:
    return any(action.startswith("dynamodb:") for action in listed(statement["Action"]))


def test_the_lambda_starts_two_jobs_and_no_other(find: Find) -> None:
    (statement,) = (s for s in statements_of(find, "TriggerRole") if "glue:StartJobRun" in listed(s["Action"]))
    assert [resource["Fn::Join"][1][-1] for resource in statement["Resource"]] == [
        ":job/batch_transform",
        ":job/kpi_transformation",
    ]
