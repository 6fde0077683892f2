"""A Glue job: its script and wheel as assets, its arguments rendered from the settings that it parses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from aws_cdk import ArnFormat, Stack
from aws_cdk import aws_glue as glue
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3_assets as s3_assets
from constructs import Construct

from infra import grants
from infra.acknowledgements import acknowledge_wildcards
from infra.environments import Workers
from lakehouse.settings import JobSettings

GLUE_VERSION: Final = "6.0"
DELTA_CONFIGURATION: Final = (
    "spark.sql.extensions=io.delta.sql.DeltaSparkSessionExtension "
    "--conf spark.sql.catalog.spark_catalog=org.apache.spark.sql.delta.catalog.DeltaCatalog"
)


class GlueJob(Construct):
    """One job with a role of its own."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: JobSettings,
        script: Path,
        wheel: s3_assets.Asset,
        statements: Sequence[iam.PolicyStatement],
        workers: Workers,
        security_configuration: str,
        maintenance_window: str | None = None,
    ) -> None:
        """Declare the job.

        Args:
            scope: Where the construct lives.
            construct_id: Its name there.
            settings: What the job parses; its `program` is the job's name.
            script: The job's entry point.
            wheel: The project's wheel.
            statements: What the role allows beside logs and assets.
            workers: Kind and greatest number of workers.
            security_configuration: Name of Glue's settings of encryption.
            maintenance_window: Of a streaming job: the hour of the week in which Glue may restart it.
        """
        super().__init__(scope, construct_id)
        entry = s3_assets.Asset(self, "Script", path=str(script))
        self.role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("glue.amazonaws.com"))
        log_arn = Stack.of(self).format_arn(
            service="logs",
            resource="log-group",
            resource_name="/aws-glue/*",
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )
        logs = grants.write_glue_logs(log_arn)
        for statement in [*statements, grants.read_assets([entry, wheel]), *logs]:
            self.role.add_to_policy(statement)
        acknowledge_wildcards(self.role, statements, "Objects below a prefix that this job reads or owns.")
        acknowledge_wildcards(
            self.role, logs, "Glue names its log groups; PutMetricData has no resource, its namespace is fixed instead."
        )
        # A batch run that fails is started again by the trigger, which counts; a retry of Glue's own would hide it.
        kind: dict[str, Any] = {"timeout": 60, "max_retries": 0}
        if streaming := maintenance_window is not None:
            # A streaming run has no timeout: Glue restarts it in its weekly window, and on failure.
            kind = {"max_retries": 3, "maintenance_window": maintenance_window}
        self.job = glue.CfnJob(
            self,
            "Job",
            name=settings.program,
            role=self.role.role_arn,
            glue_version=GLUE_VERSION,
            worker_type=workers.kind,
            number_of_workers=workers.most,
            security_configuration=security_configuration,
            job_run_queuing_enabled=False,
            execution_property=glue.CfnJob.ExecutionPropertyProperty(max_concurrent_runs=1),
            command=glue.CfnJob.JobCommandProperty(
                name="gluestreaming" if streaming else "glueetl",
                python_version="3",
                script_location=entry.s3_object_url,
            ),
            default_arguments=default_arguments(settings, wheel.s3_object_url),
            **kind,
        )


def default_arguments(settings: JobSettings, wheel_url: str) -> dict[str, str]:
    """Return Glue's own arguments and, rendered from the settings, ours."""
    return {
        "--job-language": "python",
        "--datalake-formats": "delta",
        "--conf": DELTA_CONFIGURATION,
        "--extra-py-files": wheel_url,
        # The number of workers is then the most, not what runs idle.
        "--enable-auto-scaling": "true",
        "--enable-continuous-cloudwatch-log": "true",
        "--enable-metrics": "true",
        "--enable-observability-metrics": "true",
        **settings.to_arguments(),
    }
