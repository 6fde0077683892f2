"""The templates of a productive placement, synthesised once, and the data stack of a trial one."""

import copy
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from infra.app import build_app
from infra.configuration import Configuration, declared_context

Find = Callable[..., dict[str, dict[str, Any]]]


def synth_with_nag(app: Any) -> None:
    """Synthesise an app with cdk-nag; its findings are in `validation-report.json`."""
    # Not at the top: `infra` has to be imported first, since it tells the CDK where Node is.
    from aws_cdk import Validations  # noqa: PLC0415
    from cdk_nag import AwsSolutionsChecks  # noqa: PLC0415

    Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    with suppress(RuntimeError):  # findings, which a test shows
        app.synth()


@pytest.fixture(scope="session")
def configuration() -> Configuration:
    return Configuration(
        prefix="acme", environment="prod", shards="3", alarm_email="on-call@example.org", tags={"team": "listening"}
    )


@pytest.fixture(scope="session")
def assembly(configuration: Configuration, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the cloud assembly, with what cdk-nag finds in `validation-report.json`."""
    folder = tmp_path_factory.mktemp("assembly")
    synth_with_nag(build_app(configuration, outdir=str(folder)))
    return folder


@pytest.fixture(scope="session")
def templates(assembly: Path) -> dict[str, dict[str, Any]]:
    """Every template by the name of its stack."""
    return {path.name.split(".")[0]: json.loads(path.read_text()) for path in sorted(assembly.glob("*.template.json"))}


@pytest.fixture(scope="session")
def resources(templates: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Every resource of every stack by its logical id."""
    return {name: value for template in templates.values() for name, value in template["Resources"].items()}


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


def finder(resources: dict[str, dict[str, Any]]) -> Find:
    """Return what returns the properties of all resources of a type by logical id."""

    def of_type(kind: str) -> dict[str, dict[str, Any]]:
        found = {name: value.get("Properties", {}) for name, value in resources.items() if value["Type"] == kind}
        assert found, f"no {kind} in the templates"
        return found

    return of_type


@pytest.fixture(scope="session")
def find(resources: dict[str, dict[str, Any]]) -> Find:
    """Returns the properties of all resources of a type by logical id."""
    return finder(resources)


@pytest.fixture
def changed(resources: dict[str, dict[str, Any]]) -> Callable[[Callable[[Find], None]], Find]:
    """Returns the finder of templates that somebody has changed for the worse."""

    def change(worsen: Callable[[Find], None]) -> Find:
        find = finder(copy.deepcopy(resources))
        worsen(find)
        return find

    return change
