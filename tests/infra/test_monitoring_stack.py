"""Alarms, topic and dashboard: what must wake somebody does, and says whom to ask and what to read."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from lakehouse.batch_reports import BatchReport
from streaming_jobs.batch_metrics import embedded

Find = Callable[[str], dict[str, dict[str, Any]]]

# Name, bound, periods in a row, and what silence means: written by hand, as the runbook has them.
ALARMS = {
    "ingestion-stalled": (1, 3, "notBreaching"),
    "ingestion-lags": (300, 3, "notBreaching"),
    "rejects-many": (5, 3, "notBreaching"),
    "kpis-stale": (1, 1, "breaching"),
    "request-parked": (1, 1, "notBreaching"),
    "dead-letters": (1, 1, "notBreaching"),
    "hints-wait": (900, 1, "notBreaching"),
    "trigger-fails": (1, 2, "notBreaching"),
    "trigger-throttled": (1, 3, "notBreaching"),
    "producers-throttled": (1, 3, "notBreaching"),
    "ingestion-throttled": (1, 3, "notBreaching"),
    "tables-throttled": (1, 3, "notBreaching"),
}


def alarms_of(find: Find) -> dict[str, dict[str, Any]]:
    return {alarm["AlarmName"].removeprefix("acme-"): alarm for alarm in find("AWS::CloudWatch::Alarm").values()}


def test_every_alarm_has_its_bound_and_tells_the_topic_when_it_comes_and_goes(find: Find) -> None:
    (topic,) = find("AWS::SNS::Topic")
    alarms = alarms_of(find)
    assert {
        name: (alarm["Threshold"], alarm["EvaluationPeriods"], alarm["TreatMissingData"])
        for name, alarm in alarms.items()
    } == ALARMS
    for name, alarm in alarms.items():
        assert alarm["AlarmActions"] == alarm["OKActions"] == [{"Ref": topic}]
        assert alarm["AlarmDescription"].endswith(f"docs/operations.md, {name}.")
        below = name == "kpis-stale"
        assert alarm["ComparisonOperator"] == ("LessThanThreshold" if below else "GreaterThanOrEqualToThreshold")


def fill(value: float | None, default: float) -> float:
    return default if value is None else value


# Records into the stream, accepted and rejected in one period (None: no figure came), and whether that is a standstill.
STANDSTILLS = [
    (100.0, None, None, 1),
    (100.0, 0.0, 0.0, 1),
    (100.0, 90.0, None, 0),
    (100.0, 0.0, 10.0, 0),  # everything rejected is bad, but it moves
    (0.0, None, None, 0),
    (None, None, None, 0),
]


@pytest.mark.parametrize(("incoming", "accepted", "rejected", "stalled"), STANDSTILLS)
def test_a_standstill_is_that_records_come_and_none_is_processed(
    find: Find, incoming: float | None, accepted: float | None, rejected: float | None, stalled: int
) -> None:
    (expression,) = (
        query["Expression"] for query in alarms_of(find)["ingestion-stalled"]["Metrics"] if "Expression" in query
    )
    # CloudWatch's words as Python has them; nothing else is in the expression.
    python = expression.replace("IF(", "choose(").replace("FILL(", "fill(").replace(" AND ", " and ")
    names = {
        "choose": lambda condition, yes, no: yes if condition else no,
        "fill": fill,
        "incoming": incoming,
        "accepted": accepted,
        "rejected": rejected,
    }
    assert eval(python, {"__builtins__": {}}, names) == stalled  # noqa: S307 - our own template


def metrics_of(alarm: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    plain = [alarm] if "MetricName" in alarm else []
    queries = [query["MetricStat"]["Metric"] for query in alarm.get("Metrics", []) if "MetricStat" in query]
    return [
        (metric["Namespace"], metric["MetricName"], {pair["Name"]: pair["Value"] for pair in metric["Dimensions"]})
        for metric in plain + queries
    ]


def test_alarms_read_the_very_figures_that_the_streaming_job_logs(find: Find) -> None:
    report = BatchReport(
        batch="batch=1", committed_at=datetime.now(UTC), accepted=1, rejected={}, payload_bytes=1, lag_seconds=0.0
    )
    line = embedded(report, job="ingest_listens")
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    logged = {metric["Name"] for metric in directive["Metrics"]}
    assert directive["Dimensions"] == [["job"]]
    read = {
        name
        for alarm in alarms_of(find).values()
        for namespace, name, dimensions in metrics_of(alarm)
        if namespace == directive["Namespace"] and dimensions == {"job": line["job"]}
    }
    assert read == {"accepted", "rejected", "lag_seconds"}
    assert read <= logged


def test_throttles_are_summed_over_every_table(find: Find) -> None:
    throttles = metrics_of(alarms_of(find)["tables-throttled"])
    assert len(throttles) == 2 * len(find("AWS::DynamoDB::GlobalTable"))
    assert len({json.dumps(dimensions) for _, _, dimensions in throttles}) == len(find("AWS::DynamoDB::GlobalTable"))


def test_a_failed_run_of_any_job_is_told_with_its_error(find: Find) -> None:
    (topic,) = find("AWS::SNS::Topic")
    (rule,) = (rule for rule in find("AWS::Events::Rule").values() if rule["Targets"][0]["Arn"] == {"Ref": topic})
    assert set(rule["EventPattern"]["detail"]["jobName"]) == {job["Name"] for job in find("AWS::Glue::Job").values()}
    assert set(rule["EventPattern"]["detail"]["state"]) == {"FAILED", "TIMEOUT", "ERROR"}
    paths = rule["Targets"][0]["InputTransformer"]["InputPathsMap"].values()
    assert {"$.detail.jobName", "$.detail.jobRunId", "$.detail.state", "$.detail.message"} == set(paths)


def test_the_topic_is_encrypted_over_tls_and_open_to_this_accounts_alarms(find: Find) -> None:
    (topic,) = find("AWS::SNS::Topic").values()
    assert "Fn::ImportValue" in topic["KmsMasterKeyId"]
    (policy,) = find("AWS::SNS::TopicPolicy").values()
    statements = policy["PolicyDocument"]["Statement"]
    assert any(
        s["Effect"] == "Deny" and s["Condition"] == {"Bool": {"aws:SecureTransport": "false"}} for s in statements
    )
    (alarms,) = (s for s in statements if s["Principal"] == {"Service": "cloudwatch.amazonaws.com"})
    assert alarms["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
    (subscription,) = find("AWS::SNS::Subscription").values()
    assert (subscription["Protocol"], subscription["Endpoint"]) == ("email", "on-call@example.org")


def test_the_dashboard_shows_every_alarm(find: Find) -> None:
    (dashboard,) = find("AWS::CloudWatch::Dashboard").values()
    body = json.dumps(dashboard["DashboardBody"])
    assert all(name in body for name in find("AWS::CloudWatch::Alarm"))
