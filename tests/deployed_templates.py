"""The templates that a local cloud was deployed from."""

from __future__ import annotations

import json
from typing import Any

from infra.configuration import PROJECT, Configuration
from local_cloud.assembly import ENVIRONMENT, fingerprint
from local_cloud.cloud import Cloud


def placed_templates(cloud: Cloud) -> dict[str, dict[str, Any]]:
    """Return the template of each stack by its name."""
    options = cloud.record.options
    configuration = Configuration(prefix=options.prefix, environment=ENVIRONMENT, shards=str(options.shards))
    folder = PROJECT / ".tools" / "assemblies" / fingerprint(PROJECT, configuration)
    templates = {path.name.split(".")[0]: json.loads(path.read_text()) for path in folder.glob("*.template.json")}
    assert len(templates) == 2  # without what watches
    return templates
