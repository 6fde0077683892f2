"""Place the assembly onto the emulator with the real CDK command line."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from local_cloud.environment import aws_environment, base_environment
from local_cloud.errors import DeployError
from local_cloud.options import ACCOUNT, REGION
from local_cloud.processes import start_guarded
from local_cloud.state import State
from local_cloud.toolchain import Toolchain

DEPLOY_SECONDS: Final = 300.0
QUIET: Final = ("--no-notices", "--no-version-reporting", "--no-color", "--ci")


def cdk_command(tools: Toolchain, verb: str, *arguments: str) -> list[str]:
    """Return the words that run the pinned CDK, here and for an account on AWS alike."""
    return [str(tools.node), str(tools.cdk), verb, *arguments, *QUIET]


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """The CDK, pointed to one local cloud.

    Attributes:
        state: The cloud's folder.
        tools: Node and the CDK.
        host: This process's environment.
        endpoint: URL of the emulator.
        glue_endpoint: URL of Glue.
    """

    state: State
    tools: Toolchain
    host: Mapping[str, str]
    endpoint: str
    glue_endpoint: str

    def bootstrap(self) -> None:
        """Create what the CDK itself needs: the bucket of assets and its roles."""
        self.run("bootstrap", f"aws://{ACCOUNT}/{REGION}")

    def deploy(self, assembly: Path) -> None:
        """Create or update every stack of the assembly."""
        self.run("deploy", "--app", str(assembly), "--all", "--require-approval", "never", "--progress", "events")

    def run(self, verb: str, *arguments: str) -> str:
        """Run one command of the CDK and return what it printed.

        Raises:
            DeployError: It ended with another exit code than 0.
        """
        folder = self.state.folder / "cdk"
        folder.mkdir(parents=True, exist_ok=True)
        log = self.state.logs / f"cdk-{verb}.log"
        printed = log.stat().st_size if log.exists() else 0
        process = start_guarded(
            cdk_command(self.tools, verb, *arguments),
            environment=self._environment(folder),
            state=self.state.folder,
            log=log,
            cwd=folder,
        )
        try:
            code = process.wait(DEPLOY_SECONDS)
        except subprocess.TimeoutExpired:
            process.stop(0)
            code = process.wait()
        if code != 0:
            raise DeployError(
                expected=f"`cdk {verb}` to succeed",
                found=f"exit code {code}:\n{_tail(log)}",
                do=f"The whole output is in {log}.",
            )
        return log.read_bytes()[printed:].decode(errors="replace")

    def _environment(self, folder: Path) -> dict[str, str]:
        return {
            **base_environment(self.host),
            **aws_environment(
                endpoint=self.endpoint,
                glue_endpoint=self.glue_endpoint,
                configuration=self.state.aws_configuration,
            ),
            # The CDK keeps caches in the user's home.
            "HOME": str(folder),
            "CDK_DISABLE_CLI_TELEMETRY": "true",
            "CI": "true",
        }


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-25:])
