"""The reviewers, cdk-nag (AwsSolutions) and cfn-lint, over what is deployed; and what they and our tests notice."""

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.infra.conftest import synth_with_nag
from tests.infra.test_data_stack import test_every_bucket_is_encrypted_and_listens_by_the_lakes_own_key as buckets_test
from tests.infra.test_pipeline_stack import test_no_role_has_wildcard_actions_or_managed_policies as wildcards_test

Find = Callable[[str], dict[str, dict[str, Any]]]
Changed = Callable[[Callable[[Find], None]], Find]
# W3005: the CDK itself states the order of a function, its role and the role's policy twice over.
IGNORED = "W3005"


def findings(assembly: Path) -> dict[str, list[str]]:
    """Return where each rule of cdk-nag is broken; a report without findings does not name its plugin."""
    report = json.loads((assembly / "validation-report.json").read_text())
    return {
        violation["ruleName"]: [place["constructPath"] for place in violation["violatingConstructs"]]
        for plugin in report["pluginReports"]
        for violation in plugin["violations"]
    }


def test_cdk_nag_finds_nothing_that_is_not_explained(assembly: Path) -> None:
    assert findings(assembly) == {}


def test_cdk_nag_notices_a_bucket_without_protection_and_an_open_role(tmp_path: Path) -> None:
    import aws_cdk as cdk  # noqa: PLC0415
    from aws_cdk import aws_iam as iam  # noqa: PLC0415
    from aws_cdk import aws_s3 as s3  # noqa: PLC0415

    app = cdk.App(outdir=str(tmp_path))
    stack = cdk.Stack(app, "Careless")
    s3.Bucket(stack, "Bucket")
    role = iam.Role(stack, "Role", assumed_by=iam.ServicePrincipal("glue.amazonaws.com"))
    role.add_to_policy(iam.PolicyStatement(actions=["s3:*"], resources=["*"]))
    synth_with_nag(app)
    assert {
        "AwsSolutions-S1",
        "AwsSolutions-S10",
        "AwsSolutions-IAM5[Action::s3:*]",
        "AwsSolutions-IAM5[Resource::*]",
    } <= findings(tmp_path).keys()


def lint(*templates: Path) -> list[str]:
    """Return the rules of cfn-lint that the templates break."""
    command = [
        Path(sys.executable).with_name("cfn-lint"),
        "--format",
        "json",
        "--ignore-checks",
        IGNORED,
        "--template",
        *templates,
    ]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return [f"{found['Rule']['Id']} {found['Message']}" for found in json.loads(done.stdout)]


def test_cfn_lint_finds_nothing(assembly: Path) -> None:
    templates = sorted(assembly.glob("*.template.json"))
    assert len(templates) == 3
    assert lint(*templates) == []


def test_an_unknown_resource_type_and_property_are_noticed(
    templates: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    (name,) = (name for name in templates if name.endswith("-Data"))
    template = copy.deepcopy(templates[name])
    template["Resources"]["Unknown"] = {"Type": "AWS::Kinesis::Strem", "Properties": {}}
    template["Resources"]["Misspelt"] = {"Type": "AWS::SQS::Queue", "Properties": {"QueueNmae": "x"}}
    path = tmp_path / "wrong.template.json"
    path.write_text(json.dumps(template))
    assert sorted(found.split()[0] for found in lint(path)) == ["E3002", "E3006"]


def an_unencrypted_bucket(find: Find) -> None:
    del next(iter(find("AWS::S3::Bucket").values()))["BucketEncryption"]


def a_bucket_with_a_key_of_s3(find: Find) -> None:
    (raw,) = (b for b in find("AWS::S3::Bucket").values() if b["BucketName"] == "acme-lab3-raw")
    rule = {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    raw["BucketEncryption"]["ServerSideEncryptionConfiguration"] = [rule]


@pytest.mark.parametrize("worsen", [an_unencrypted_bucket, a_bucket_with_a_key_of_s3])
def test_a_bucket_without_its_encryption_is_noticed(changed: Changed, worsen: Callable[[Find], None]) -> None:
    with pytest.raises((AssertionError, KeyError)):
        buckets_test(changed(worsen))


def widen(key: str, value: str) -> Callable[[Find], None]:
    def worsen(find: Find) -> None:
        (policy,) = (p for name, p in find("AWS::IAM::Policy").items() if name.startswith("JobsKpiRole"))
        policy["PolicyDocument"]["Statement"][0][key] = value

    return worsen


@pytest.mark.parametrize(("key", "value"), [("Action", "s3:*"), ("Action", "*"), ("Resource", "*")])
def test_a_widened_policy_is_noticed(changed: Changed, key: str, value: str) -> None:
    with pytest.raises(AssertionError):
        wildcards_test(changed(widen(key, value)))
