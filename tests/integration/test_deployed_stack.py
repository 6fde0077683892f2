"""What the templates name is really there: asked of each service itself, not of CloudFormation."""

from typing import Any

import pytest

from local_cloud.cloud import Cloud
from tests.deployed_templates import placed_templates
from tests.integration.deployed_resources import ASK, PARTS, names

Resources = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def declared(cloud: Cloud) -> dict[str, Resources]:
    """The resources of each stack as they were synthesised."""
    return {stack: template["Resources"] for stack, template in placed_templates(cloud).items()}


def test_every_resource_of_the_templates_is_there(cloud: Cloud, declared: dict[str, Resources]) -> None:
    formation = cloud.client("cloudformation")
    missing = []
    for stack, resources in declared.items():
        answer = formation.describe_stack_resources(StackName=stack)["StackResources"]
        placed = {entry["LogicalResourceId"]: entry["PhysicalResourceId"] for entry in answer}
        for logical, resource in resources.items():
            kind = resource["Type"]
            if kind in PARTS:
                continue
            # A queue's id is an address, and the host of it is a matter of who asks.
            is_queue = kind == "AWS::SQS::Queue"
            there = {name.rpartition("/")[2] if is_queue else name for name in ASK[kind](cloud)}
            name = placed.get(logical, "")
            if (name.rpartition("/")[2] if is_queue else name) not in there:
                missing.append((stack, kind, logical))
    assert missing == []


def test_the_catalog_lists_the_tables_that_athena_reads(cloud: Cloud) -> None:
    tables = cloud.client("glue").get_tables(DatabaseName="listenlake")["TableList"]
    places = {table["Name"]: table["StorageDescriptor"]["Location"] for table in tables}
    assert places["daily_listens"] == f"s3://{cloud.places.presentation_bucket}/daily_listens/"
    assert {table["Parameters"]["table_type"] for table in tables} == {"DELTA"}


def test_roles_got_the_statements_of_the_template(cloud: Cloud, declared: dict[str, Resources]) -> None:
    iam = cloud.client("iam")
    roles = [name for name in names(cloud, "iam", "list_roles", "Roles", "RoleName") if "Pipeline" in name]
    found = {
        tuple(sorted([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]))
        for role in roles
        for policy in iam.list_role_policies(RoleName=role)["PolicyNames"]
        for statement in iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]["Statement"]
    }
    expected = {
        tuple(sorted([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]))
        for resources in declared.values()
        for resource in resources.values()
        if resource["Type"] == "AWS::IAM::Policy"
        for statement in resource["Properties"]["PolicyDocument"]["Statement"]
    }
    assert found == expected
