"""CDK entry: `python -m infra.app`, or by `cdk` through `cdk.json`. In: context. Out: the cloud assembly."""

from __future__ import annotations

import json
import os

import aws_cdk as cdk

from infra.configuration import Configuration, declared_context
from infra.data_stack import DataStack
from infra.monitoring_stack import MonitoringStack
from infra.pipeline_stack import PipelineStack


def build_app(configuration: Configuration, *, outdir: str | None = None) -> cdk.App:
    """Compose the stacks of one placement.

    Args:
        configuration: The placement.
        outdir: Folder of the cloud assembly; None leaves the choice to the CDK.
    """
    app = cdk.App(outdir=outdir, analytics_reporting=False, context=declared_context())
    name = f"Listenlake-{configuration.environment}"
    data = DataStack(app, f"{name}-Data", configuration=configuration)
    pipeline = PipelineStack(app, f"{name}-Pipeline", configuration=configuration, data=data)
    if configuration.promises.watched:
        MonitoringStack(app, f"{name}-Monitoring", configuration=configuration, data=data, pipeline=pipeline)
    for tag, value in {"project": "listenlake", "environment": configuration.environment, **configuration.tags}.items():
        cdk.Tags.of(app).add(tag, value)
    return app


def main() -> None:
    """Synthesise the placement that the context describes."""
    given = json.loads(os.environ.get("CDK_CONTEXT_JSON", "{}"))
    configuration = Configuration.from_context(declared_context() | given)
    build_app(configuration, outdir=os.environ.get("CDK_OUTDIR")).synth()


if __name__ == "__main__":
    main()
