"""The three Glue jobs and what each may touch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3_assets as s3_assets
from constructs import Construct

from infra import code_assets, grants
from infra.environments import Workers
from infra.glue_job import GlueJob
from infra.security_configuration import SecurityConfiguration
from lakehouse import layout
from lakehouse.settings import IngestSettings, JobSettings, KpiSettings, TransformSettings

if TYPE_CHECKING:
    from infra.configuration import Configuration
    from infra.data_stack import DataStack


class Jobs(Construct):
    """`ingest_listens`, `batch_transform` and `kpi_transformation`."""

    def __init__(self, scope: Construct, construct_id: str, *, configuration: Configuration, data: DataStack) -> None:
        super().__init__(scope, construct_id)
        self._project = configuration.project
        with code_assets.scratch_folder() as folder:
            built = code_assets.build_wheel(configuration.project, folder)
            self._wheel = s3_assets.Asset(self, "Wheel", path=str(built))
        self._security = SecurityConfiguration(self, "Security", prefix=configuration.prefix, key=data.key)
        prefix = configuration.prefix
        promises = configuration.promises
        self.ingest = self._job(
            "Ingest",
            IngestSettings.with_prefix(prefix),
            Path("streaming_jobs") / "ingest_listens.py",
            _may_ingest(data),
            promises.ingest,
            maintenance_window=configuration.maintenance_window,
        )
        self.transform = self._job(
            "Transform",
            TransformSettings.with_prefix(prefix),
            Path("batch_jobs") / "batch_transform.py",
            _may_transform(data),
            promises.batch,
        )
        self.kpi = self._job(
            "Kpi",
            KpiSettings.with_prefix(prefix),
            Path("batch_jobs") / "kpi_transformation.py",
            _may_serve(data),
            promises.batch,
        )

    def _job(
        self,
        construct_id: str,
        settings: JobSettings,
        script: Path,
        statements: Sequence[iam.PolicyStatement],
        workers: Workers,
        *,
        maintenance_window: str | None = None,
    ) -> GlueJob:
        return GlueJob(
            self,
            construct_id,
            settings=settings,
            script=self._project / script,
            wheel=self._wheel,
            statements=statements,
            workers=workers,
            security_configuration=self._security.name,
            maintenance_window=maintenance_window,
        )


def _may_ingest(data: DataStack) -> list[iam.PolicyStatement]:
    written = [layout.PROCESSED, layout.BAD_RECORDS, layout.INGEST_CHECKPOINT]
    return [
        grants.read_stream(data.stream),
        grants.use_key(data.key, grants.READ_ENCRYPTED, service="kinesis"),
        grants.use_key(data.key, grants.WRITE_ENCRYPTED, service="s3"),
        *grants.on_prefixes(data.raw, written, grants.WRITE_OBJECTS),
        # The archive tells which CSV files are ingested, beside the markers.
        *grants.on_prefixes(data.raw, [layout.DROPS, layout.ARCHIVES], grants.READ_OBJECTS),
        grants.on_table(data.control, grants.LEASE_ITEMS),
    ]


def _may_transform(data: DataStack) -> list[iam.PolicyStatement]:
    dimensions = [layout.USERS_KEY.rpartition("/")[0], layout.SONGS_KEY.rpartition("/")[0]]
    moved = [layout.PROCESSED, layout.ARCHIVES, layout.BAD_RECORDS]
    return [
        grants.use_key(data.key, grants.WRITE_ENCRYPTED, service="s3"),
        *grants.on_prefixes(data.raw, dimensions, grants.READ_OBJECTS),
        *grants.on_prefixes(data.raw, moved, grants.WRITE_OBJECTS),
        *grants.on_prefixes(
            data.curated, [layout.LATEST, layout.KNOWN_USERS, layout.KNOWN_SONGS], grants.WRITE_OBJECTS
        ),
        grants.on_table(data.control, grants.LEASE_ITEMS),
    ]


def _may_serve(data: DataStack) -> list[iam.PolicyStatement]:
    served = [layout.DAILY_LISTENS, layout.TOP_GENRES, layout.VALIDATION_METRICS_KEY.rpartition("/")[0]]
    return [
        grants.use_key(data.key, grants.WRITE_ENCRYPTED, service="s3"),
        *grants.on_prefixes(data.curated, [layout.LATEST], grants.READ_OBJECTS),
        *grants.on_prefixes(data.curated, [layout.ARCHIVE, layout.PARTIALS], grants.WRITE_OBJECTS),
        *grants.on_prefixes(data.presentation, served, grants.WRITE_OBJECTS),
        grants.on_table(data.control, grants.LEASE_ITEMS),
        grants.on_table(data.daily_listens, grants.SERVE_ITEMS),
        grants.on_table(data.top_genres, grants.SERVE_ITEMS),
    ]
