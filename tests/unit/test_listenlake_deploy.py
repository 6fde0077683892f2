"""`listenlake deploy`: what it says, what it asks, and what it makes the CDK do; AWS is moto, the CDK is watched."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import boto3
import pytest
import typer
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from rich.console import Console
from typer.testing import CliRunner, Result

from lakehouse.errors import ListenlakeError
from listenlake import deploy_commands, deployment
from local_cloud.state import PROJECT
from local_cloud.toolchain import Toolchain

STACKS = ["Listenlake-prod-Data", "Listenlake-prod-Pipeline"]


@dataclass
class Watched:
    """Commands that were run; synthesis leaves an assembly of `STACKS`."""

    commands: list[list[str]] = field(default_factory=list)
    regions: set[str] = field(default_factory=set)
    context: dict[str, str] = field(default_factory=dict)
    code: int = 0
    is_bootstrapped: bool = True

    def __call__(self, command: Sequence[str], environment: Mapping[str, str]) -> int:
        if "infra.app" in command:
            self.context = json.loads(environment["CDK_CONTEXT_JSON"])
            artifacts = {name: {"type": "aws:cloudformation:stack"} for name in STACKS}
            out = Path(environment["CDK_OUTDIR"])
            out.mkdir()
            (out / "manifest.json").write_text(
                json.dumps({"artifacts": {**artifacts, "Tree": {"type": "cdk:tree"}}}), encoding="utf-8"
            )
            return 0
        self.commands.append(list(command))
        self.regions.add(environment["AWS_REGION"])
        return self.code


@pytest.fixture
def watched(aws: None, monkeypatch: pytest.MonkeyPatch) -> Watched:
    found = Watched()
    monkeypatch.setattr(deployment, "has_stack", lambda _client, name: name == "CDKToolkit" and found.is_bootstrapped)
    monkeypatch.setattr(deploy_commands, "run_on_terminal", found)
    return found


def deploy(*arguments: str, answer: str = "") -> Result:
    app = typer.Typer()
    deploy_commands.register(app, Console(width=200))
    app.callback()(lambda: None)
    return CliRunner().invoke(app, ["deploy", "--prefix", "acme", "--environment", "prod", *arguments], input=answer)


def test_it_says_what_it_will_do_and_asks(watched: Watched) -> None:
    refused = deploy(answer="n\n")
    assert refused.exit_code == 1
    for word in ("123456789012", "eu-west-1", "prod", *STACKS, "acme-lab3-raw", "on demand", "kept when the stacks"):
        assert word in refused.output
    assert watched.commands == []
    assert watched.context["listenlake:prefix"] == "acme"


def test_it_runs_the_pinned_cdk(watched: Watched) -> None:
    done = deploy("--yes", "--region", "eu-north-1", "--bootstrap")
    assert done.exit_code == 0
    tools = Toolchain.load(PROJECT / ".tools")
    assert [command[:3] for command in watched.commands] == [
        [str(tools.node), str(tools.cdk), "bootstrap"],
        [str(tools.node), str(tools.cdk), "deploy"],
    ]
    assert watched.commands[0][3] == "aws://123456789012/eu-north-1"
    assert {"--all", "--require-approval"} <= set(watched.commands[1])
    assert watched.regions == {"eu-north-1"}


def test_a_diff_changes_nothing_and_needs_no_bootstrap(watched: Watched) -> None:
    watched.is_bootstrapped = False
    assert deploy("--diff").exit_code == 0
    (command,) = watched.commands
    assert command[2] == "diff"
    assert "--all" not in command  # `cdk diff` shows all stacks when none is named, and does not know the option


def test_an_account_without_the_cdks_own_stack_is_told_so(watched: Watched) -> None:
    watched.is_bootstrapped = False
    found = deploy("--yes")
    assert isinstance(found.exception, deployment.PlacementError)
    assert "Add --bootstrap" in str(found.exception)
    assert watched.commands == []


def test_only_cloudformations_own_word_means_that_there_is_no_stack(aws: None) -> None:
    client = boto3.client("cloudformation")
    with Stubber(client) as answers:
        answers.add_response("describe_stacks", {"Stacks": []})
        answers.add_client_error("describe_stacks", "ValidationError")
        answers.add_client_error("describe_stacks", "AccessDenied")
        assert deployment.has_stack(client, "CDKToolkit")
        assert not deployment.has_stack(client, "CDKToolkit")
        with pytest.raises(ClientError):
            deployment.has_stack(client, "CDKToolkit")


def test_a_cdk_that_fails_fails_the_command(watched: Watched) -> None:
    watched.code = 1
    found = deploy("--yes")
    assert isinstance(found.exception, ListenlakeError)
    assert "`cdk deploy` to succeed in account 123456789012" in str(found.exception)


def test_a_profile_that_does_not_exist_is_named(watched: Watched) -> None:
    with pytest.raises(deployment.PlacementError, match="credentials of the profile nobody"):
        deployment.find_target("nobody", "")
