"""What is really there of a deployed stack: asked of each service itself, not of CloudFormation."""

from collections.abc import Callable
from typing import Any

from local_cloud.cloud import Cloud


def names(cloud: Cloud, service: str, call: str, listed: str, name: str = "", **request: Any) -> set[str]:
    """Return the names in the answer of one listing call."""
    answer = getattr(cloud.client(service), call)(**request)
    return {str(entry[name] if name else entry) for entry in answer[listed]}


# How to ask a service for what it has, as CloudFormation's physical ids name it.
ASK: dict[str, Callable[[Cloud], set[str]]] = {
    "AWS::DynamoDB::GlobalTable": lambda c: names(c, "dynamodb", "list_tables", "TableNames"),
    "AWS::Events::Rule": lambda c: names(c, "events", "list_rules", "Rules", "Name"),
    "AWS::Glue::Database": lambda c: names(c, "glue", "get_databases", "DatabaseList", "Name"),
    "AWS::Glue::Job": lambda c: names(c, "glue", "get_jobs", "Jobs", "Name"),
    "AWS::Glue::SecurityConfiguration": lambda c: names(
        c, "glue", "get_security_configurations", "SecurityConfigurations", "Name"
    ),
    "AWS::IAM::Role": lambda c: names(c, "iam", "list_roles", "Roles", "RoleName"),
    "AWS::KMS::Alias": lambda c: names(c, "kms", "list_aliases", "Aliases", "AliasName"),
    "AWS::KMS::Key": lambda c: names(c, "kms", "list_keys", "Keys", "KeyId"),
    "AWS::Kinesis::Stream": lambda c: names(c, "kinesis", "list_streams", "StreamNames"),
    "AWS::Lambda::EventSourceMapping": lambda c: names(
        c, "lambda", "list_event_source_mappings", "EventSourceMappings", "UUID"
    ),
    "AWS::Lambda::Function": lambda c: names(c, "lambda", "list_functions", "Functions", "FunctionName"),
    "AWS::Logs::LogGroup": lambda c: names(c, "logs", "describe_log_groups", "logGroups", "logGroupName"),
    "AWS::S3::Bucket": lambda c: names(c, "s3", "list_buckets", "Buckets", "Name"),
    "AWS::SQS::Queue": lambda c: names(c, "sqs", "list_queues", "QueueUrls"),
    "AWS::Scheduler::Schedule": lambda c: names(c, "scheduler", "list_schedules", "Schedules", "Name"),
}
# Parts of another resource, without a listing of their own.
PARTS = {
    "AWS::CDK::Metadata",
    "AWS::Glue::Table",
    "AWS::IAM::Policy",
    "AWS::S3::BucketPolicy",
    "AWS::SQS::QueuePolicy",
}
