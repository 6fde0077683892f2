"""The templates of a productive placement, synthesised once, and the data stack of a trial one."""

from collections.abc import Callable
from typing import Any

import pytest

from infra.app import build_app
from infra.configuration import Configuration, declared_context

Find = Callable[..., dict[str, dict[str, Any]]]


@pytest.fixture(scope="session")
def configuration() -> Configuration:
    return Configuration(prefix="acme", environment="prod", shards="3", tags={"team": "listening"})


@pytest.fixture(scope="session")
def resources(configuration: Configuration, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Every resource of every stack by its logical id."""
    # Not at the top: `infra` has to be imported first, since it tells the CDK where Node is.
    from aws_cdk import Stack  # noqa: PLC0415
    from aws_cdk.assertions import Template  # noqa: PLC0415

    app = build_app(configuration, outdir=str(tmp_path_factory.mktemp("assembly")))
    stacks = [child for child in app.node.children if isinstance(child, Stack)]
    return {
        name: value for stack in stacks for name, value in Template.from_stack(stack).to_json()["Resources"].items()
    }


@pytest.fixture(scope="session")
def trial_data() -> dict[str, dict[str, Any]]:
    """Every resource of the data stack of `dev`, by its logical id."""
    import aws_cdk as cdk  # noqa: PLC0415
    from aws_cdk.assertions import Template  # noqa: PLC0415

    from infra.data_stack import DataStack  # noqa: PLC0415

    stack = DataStack(
        cdk.App(context=declared_context()), "Data", configuration=Configuration(prefix="acme", environment="dev")
    )
    found: dict[str, dict[str, Any]] = Template.from_stack(stack).to_json()["Resources"]
    return found


@pytest.fixture(scope="session")
def find(resources: dict[str, dict[str, Any]]) -> Find:
    """Returns the properties of all resources of a type by logical id."""

    def of_type(kind: str) -> dict[str, dict[str, Any]]:
        found = {name: value.get("Properties", {}) for name, value in resources.items() if value["Type"] == kind}
        assert found, f"no {kind} in the templates"
        return found

    return of_type
