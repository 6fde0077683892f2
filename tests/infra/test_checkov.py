"""checkov over what is deployed, from an environment of its own; what is meant is said beside its construct.

Its rules come with it: nothing is fetched, and whatever leaves this machine fails.
"""

import copy
import json
import subprocess
from typing import Any

import pytest

from infra.configuration import PROJECT
from local_cloud.environment import base_environment, host_environment
from tests.airflow_runs import DEAD_PROXY

CHECKOV = PROJECT / ".tools" / "checkov" / "bin" / "checkov"
OPTIONS = ("--framework", "cloudformation", "--skip-download", "--compact", "--quiet", "--soft-fail", "-o", "json")
CARELESS, EXPLAINED, UNEXPLAINED = "careless", "explained", "unexplained"


@pytest.fixture(scope="module")
def report(templates: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What checkov finds in the templates, in these without the reasons, and in a bucket as nobody should have it."""
    folder = tmp_path_factory.mktemp("templates")
    for kind in (CARELESS, EXPLAINED, UNEXPLAINED):
        (folder / kind).mkdir()
    for name, template in templates.items():
        (folder / EXPLAINED / f"{name}.json").write_text(json.dumps(template))
        bare = copy.deepcopy(template)
        for resource in bare["Resources"].values():
            resource.get("Metadata", {}).pop("checkov", None)
        (folder / UNEXPLAINED / f"{name}.json").write_text(json.dumps(bare))
    careless = {"Resources": {"Bucket": {"Type": "AWS::S3::Bucket", "Properties": {}}}}
    (folder / CARELESS / "template.json").write_text(json.dumps(careless))
    done = subprocess.run(
        [CHECKOV, "-d", folder, *OPTIONS],
        env={
            **base_environment(host_environment()),
            "HOME": str(folder),
            "HTTP_PROXY": DEAD_PROXY,
            "HTTPS_PROXY": DEAD_PROXY,
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def failed(report: dict[str, Any], kind: str) -> set[tuple[str, str]]:
    """Return the rules that are broken in templates of a kind, with the resource that breaks them."""
    return {
        (check["check_id"], check["resource"])
        for check in report["results"]["failed_checks"]
        if check["file_path"].startswith(f"/{kind}/")
    }


def test_checkov_finds_nothing_that_is_not_explained(report: dict[str, Any]) -> None:
    assert report["summary"]["parsing_errors"] == 0
    assert failed(report, EXPLAINED) == set()


def test_checkov_notices_a_bucket_without_protection(report: dict[str, Any]) -> None:
    # Access from everywhere, and no access logs.
    assert {"CKV_AWS_53", "CKV_AWS_54", "CKV_AWS_18"} <= {rule for rule, _ in failed(report, CARELESS)}


def test_only_what_checkov_finds_is_explained(report: dict[str, Any], resources: dict[str, dict[str, Any]]) -> None:
    explained = {
        (skip["id"], f"{resource['Type']}.{name}")
        for name, resource in resources.items()
        for skip in resource.get("Metadata", {}).get("checkov", {}).get("skip", [])
    }
    assert explained == failed(report, UNEXPLAINED)
