"""Place the stacks of `infra` on an AWS account, by the CDK that the lock pins.

`listenlake up` goes the same way on the laptop: the same app is synthesised, and the same CDK places what comes out.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import boto3
from botocore.exceptions import ClientError, NoCredentialsError, ProfileNotFound

from infra.configuration import Configuration
from lakehouse.errors import ListenlakeError
from lakehouse.settings import Places
from local_cloud.assembly import synthesis_command, synthesis_environment
from local_cloud.deploy import cdk_command
from local_cloud.environment import tls_environment

if TYPE_CHECKING:
    from local_cloud.toolchain import Toolchain

BOOTSTRAP_STACK: Final = "CDKToolkit"


class PlacementError(ListenlakeError):
    """There is no account to deploy to, or the CDK did not succeed there."""


class Run(Protocol):
    """Runs a command with its output on the terminal and returns its exit code."""

    def __call__(self, command: Sequence[str], environment: Mapping[str, str]) -> int:
        """Run it."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where a deployment goes.

    Attributes:
        account: Number of the AWS account.
        region: Its region.
        principal: ARN of whoever deploys.
        profile: Name of the AWS profile; empty for the credentials of the environment.
        has_bootstrap: Whether the CDK's own stack is there.
    """

    account: str
    region: str
    principal: str
    profile: str
    has_bootstrap: bool


def find_target(profile: str, region: str) -> Target:
    """Ask AWS who and where we are.

    Args:
        profile: Name of an AWS profile; empty for the credentials of the environment.
        region: A region; empty for that of the profile.

    Raises:
        PlacementError: The profile, its credentials or the region are missing or refused.
    """
    try:
        session = boto3.Session(profile_name=profile or None, region_name=region or None)
        if session.region_name is None:
            raise PlacementError(expected="a region", found="none in the profile", do="Give one: --region eu-west-1.")
        identity = session.client("sts").get_caller_identity()
        has_bootstrap = has_stack(session.client("cloudformation"), BOOTSTRAP_STACK)
    except (ProfileNotFound, NoCredentialsError, ClientError) as error:
        raise PlacementError(
            expected=f"credentials of the profile {profile}" if profile else "credentials of an AWS account",
            found=str(error),
            do="Check `aws sts get-caller-identity` with the same profile; `aws sso login` renews a session.",
        ) from error
    return Target(
        account=identity["Account"],
        region=session.region_name,
        principal=identity["Arn"],
        profile=profile,
        has_bootstrap=has_bootstrap,
    )


def has_stack(client: Any, name: str) -> bool:
    """Tell whether CloudFormation knows a stack of this name."""
    try:
        client.describe_stacks(StackName=name)
    except ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError":  # CloudFormation's word for "no such stack"
            return False
        raise
    return True


@contextmanager
def assembly(configuration: Configuration, tools: Toolchain, host: Mapping[str, str], run: Run) -> Iterator[Path]:
    """Synthesise the stacks and give the folder that holds them.

    Raises:
        PlacementError: The app does not synthesise; its output is on the terminal.
    """
    with tempfile.TemporaryDirectory(prefix="listenlake-assembly-") as folder:
        out = Path(folder) / "assembly"
        if run(synthesis_command(), synthesis_environment(configuration, tools=tools, host=host, out=out)) != 0:
            raise PlacementError(
                expected="a cloud assembly of `infra`", found="an error, printed above", do="Repair it and try again."
            )
        yield out


def read_stacks(folder: Path) -> list[str]:
    """Return the names of the stacks of an assembly."""
    artifacts = json.loads((folder / "manifest.json").read_text())["artifacts"]
    return [name for name, artifact in artifacts.items() if artifact["type"] == "aws:cloudformation:stack"]


def describe(target: Target, configuration: Configuration, stacks: Sequence[str]) -> dict[str, str]:
    """Return what a deployment is about to do, for a person to read before it does."""
    places = Places.with_prefix(configuration.prefix)
    promises = configuration.promises
    shards = configuration.provisioned_shards
    return {
        "account": f"{target.account}, as {target.principal}",
        "region": target.region,
        "environment": configuration.environment,
        "stacks": ", ".join(stacks),
        "buckets": ", ".join((places.raw_bucket, places.curated_bucket, places.presentation_bucket)),
        "stream": f"{places.stream}, {'on demand' if shards is None else f'{shards} shards'}",
        "data": "kept when the stacks are deleted" if promises.keeps_data else "DELETED with the stacks",
    }


@dataclass(frozen=True, kw_only=True)
class Placement:
    """The CDK, pointed to one account."""

    target: Target
    tools: Toolchain
    host: Mapping[str, str]
    run: Run

    def bootstrap(self) -> None:
        """Create or update what the CDK itself needs in the account: a bucket of assets and roles."""
        self._cdk("bootstrap", f"aws://{self.target.account}/{self.target.region}")

    def diff(self, folder: Path) -> None:
        """Print what would change."""
        self._cdk("diff", "--app", str(folder))

    def deploy(self, folder: Path) -> None:
        """Create or update every stack of the assembly; whoever calls has asked for approval."""
        self._cdk("deploy", "--app", str(folder), "--all", "--require-approval", "never", "--progress", "events")

    def _cdk(self, verb: str, *arguments: str) -> None:
        profile = ("--profile", self.target.profile) if self.target.profile else ()
        environment = {
            **self.host,
            **tls_environment(self.host),
            "AWS_REGION": self.target.region,
            "CDK_DISABLE_CLI_TELEMETRY": "true",
        }
        code = self.run([*cdk_command(self.tools, verb, *arguments), *profile], environment)
        if code != 0:
            raise PlacementError(
                expected=f"`cdk {verb}` to succeed in account {self.target.account}",
                found=f"exit code {code}; its output is above",
                do="docs/operations.md, Deploy, says what it needs; a failed stack rolls back by itself.",
            )


def run_on_terminal(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a command whose output goes where ours goes."""
    return subprocess.run(list(command), env=dict(environment), check=False).returncode
