"""Where data rests: the key, the buckets and their catalog, the stream, the control and serving tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_kinesis as kinesis
from aws_cdk import aws_s3 as s3
from constructs import Construct

from infra.acknowledgements import acknowledge
from infra.buckets import AccessLogBucket, LakeBucket, cool_down, expire
from infra.catalog import Catalog
from infra.configuration import Configuration
from infra.lake_key import LakeKey
from infra.tables import CONTROL, DAILY_LISTENS, TOP_GENRES, ServingTable, TableShape
from lakehouse import layout
from lakehouse.settings import Places

ACCESS_LOGS_ROLE: Final = "lab3-access-logs"


class DataStack(Stack):
    """Everything that outlives a deployment of code."""

    def __init__(self, scope: Construct, construct_id: str, *, configuration: Configuration, **options: Any) -> None:
        promises = configuration.promises
        super().__init__(scope, construct_id, termination_protection=promises.keeps_data, **options)
        self._promises = promises
        places = Places.with_prefix(configuration.prefix)
        self.key = LakeKey(self, "Key", alias=f"{configuration.prefix}-listenlake", promises=promises).key
        self.access_logs = AccessLogBucket(
            self,
            "AccessLogs",
            bucket_name=layout.bucket_name(ACCESS_LOGS_ROLE, configuration.prefix),
            promises=promises,
        ).bucket
        self.raw = self._bucket(
            "Raw",
            places.raw_bucket,
            [expire(layout.BAD_RECORDS, days=layout.BAD_RECORDS_KEPT.days), cool_down(layout.ARCHIVES)],
            announces_objects=True,
        )
        self.curated = self._bucket("Curated", places.curated_bucket, [cool_down(layout.ARCHIVE)])
        self.presentation = self._bucket("Presentation", places.presentation_bucket)
        Catalog(self, "Catalog", configuration=configuration)
        self.stream = self._stream(places.stream, configuration.provisioned_shards)
        self.control = self._table("Control", places.control_table, CONTROL)
        self.daily_listens = self._table("DailyListens", places.daily_listens_table, DAILY_LISTENS)
        self.top_genres = self._table("TopGenres", places.top_genres_table, TOP_GENRES)

    def _bucket(
        self, construct_id: str, name: str, rules: Sequence[s3.LifecycleRule] = (), *, announces_objects: bool = False
    ) -> s3.Bucket:
        return LakeBucket(
            self,
            construct_id,
            bucket_name=name,
            promises=self._promises,
            key=self.key,
            access_logs=self.access_logs,
            announces_objects=announces_objects,
            rules=rules,
        ).bucket

    def _stream(self, name: str, shards: int | None) -> kinesis.Stream:
        stream = kinesis.Stream(
            self,
            "Listens",
            stream_name=name,
            stream_mode=kinesis.StreamMode.PROVISIONED if shards else kinesis.StreamMode.ON_DEMAND,
            shard_count=shards,
            retention_period=Duration.hours(self._promises.stream_hours),
            encryption=kinesis.StreamEncryption.KMS,
            encryption_key=self.key,
            removal_policy=RemovalPolicy.RETAIN if self._promises.keeps_data else RemovalPolicy.DESTROY,
        )
        acknowledge(stream, "KDS3", "The rule asks for the account's key; the lake's own is the stricter choice.")
        return stream

    def _table(self, construct_id: str, name: str, shape: TableShape) -> dynamodb.TableV2:
        return ServingTable(self, construct_id, table_name=name, shape=shape, promises=self._promises).table
