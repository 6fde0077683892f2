"""Where data rests: three buckets, the stream, the control table and the two serving tables."""

from __future__ import annotations

from typing import Any

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_kinesis as kinesis
from constructs import Construct

from infra.buckets import LakeBucket
from infra.configuration import Configuration
from infra.tables import CONTROL, DAILY_LISTENS, TOP_GENRES, ServingTable
from lakehouse import layout
from lakehouse.settings import Places


class DataStack(Stack):
    """Everything that outlives a deployment of code."""

    def __init__(self, scope: Construct, construct_id: str, *, configuration: Configuration, **options: Any) -> None:
        super().__init__(scope, construct_id, **options)
        places = Places.with_prefix(configuration.prefix)
        removal = RemovalPolicy.RETAIN if configuration.retain else RemovalPolicy.DESTROY
        self.raw = LakeBucket(
            self,
            "Raw",
            bucket_name=places.raw_bucket,
            removal=removal,
            announces_objects=True,
            expires={layout.BAD_RECORDS: Duration.days(layout.BAD_RECORDS_KEPT.days)},
        ).bucket
        self.curated = LakeBucket(self, "Curated", bucket_name=places.curated_bucket, removal=removal).bucket
        self.presentation = LakeBucket(
            self, "Presentation", bucket_name=places.presentation_bucket, removal=removal
        ).bucket
        self.stream = kinesis.Stream(
            self,
            "Listens",
            stream_name=places.stream,
            stream_mode=kinesis.StreamMode.PROVISIONED,
            shard_count=configuration.shards,
            retention_period=Duration.hours(48),
            encryption=kinesis.StreamEncryption.MANAGED,
            removal_policy=removal,
        )
        self.control = ServingTable(
            self, "Control", table_name=places.control_table, shape=CONTROL, removal=removal
        ).table
        self.daily_listens = ServingTable(
            self, "DailyListens", table_name=places.daily_listens_table, shape=DAILY_LISTENS, removal=removal
        ).table
        self.top_genres = ServingTable(
            self, "TopGenres", table_name=places.top_genres_table, shape=TOP_GENRES, removal=removal
        ).table
