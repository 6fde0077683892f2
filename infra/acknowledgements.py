"""Findings of the reviewers that are meant to be so: each is named, with its reason, beside the construct that has it.

cdk-nag reads the app, checkov the templates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from aws_cdk import Acknowledgment, Aws, CfnResource, Validations
from aws_cdk import aws_iam as iam
from constructs import IConstruct


def acknowledge(construct: IConstruct, finding: str, reason: str) -> None:
    """Say why `construct` keeps what the rule `AwsSolutions-…` finds."""
    Validations.of(construct).acknowledge(Acknowledgment(id=f"AwsSolutions-{finding}", reason=reason))


def acknowledge_checkov(construct: IConstruct, reasons: Mapping[str, str]) -> None:
    """Say why the resource of `construct` keeps what checkov finds, by the rule's id; once for each construct."""
    resource = construct.node.default_child
    assert isinstance(resource, CfnResource)  # noqa: S101 - what the default child of our constructs is
    resource.add_metadata("checkov", {"skip": [{"id": rule, "comment": reason} for rule, reason in reasons.items()]})


def acknowledge_wildcards(role: iam.IRole, statements: Iterable[iam.PolicyStatement], reason: str) -> None:
    """Say why a role's statements name resources with a star; actions with a star are never acknowledged."""
    found = {resource for statement in statements for resource in statement.resources if "*" in resource}
    for resource in sorted(found):
        shown = resource
        for token, name in ((Aws.PARTITION, "Partition"), (Aws.REGION, "Region"), (Aws.ACCOUNT_ID, "AccountId")):
            shown = shown.replace(token, f"<AWS::{name}>")
        acknowledge(role, f"IAM5[Resource::{shown}]", reason)
