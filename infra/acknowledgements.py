"""Findings of cdk-nag that are meant to be so: each is named, with its reason, beside the construct that has it."""

from __future__ import annotations

from collections.abc import Iterable

from aws_cdk import Acknowledgment, Aws, Validations
from aws_cdk import aws_iam as iam
from constructs import IConstruct


def acknowledge(construct: IConstruct, finding: str, reason: str) -> None:
    """Say why `construct` keeps what the rule `AwsSolutions-…` finds."""
    Validations.of(construct).acknowledge(Acknowledgment(id=f"AwsSolutions-{finding}", reason=reason))


def acknowledge_wildcards(role: iam.IRole, statements: Iterable[iam.PolicyStatement], reason: str) -> None:
    """Say why a role's statements name resources with a star; actions with a star are never acknowledged."""
    found = {resource for statement in statements for resource in statement.resources if "*" in resource}
    for resource in sorted(found):
        shown = resource
        for token, name in ((Aws.PARTITION, "Partition"), (Aws.REGION, "Region"), (Aws.ACCOUNT_ID, "AccountId")):
            shown = shown.replace(token, f"<AWS::{name}>")
        acknowledge(role, f"IAM5[Resource::{shown}]", reason)
