"""The DynamoDB tables: key shapes as records, one construct for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from aws_cdk import RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from constructs import Construct

from infra.environments import Environment

EXPIRY_ATTRIBUTE: Final = "expires_at"


@dataclass(frozen=True, kw_only=True)
class TableShape:
    """Key attributes, all of them text.

    Attributes:
        partition_key: The partition key.
        sort_key: The sort key, if any.
        indexes: Partition and sort key of each global index by its name.
    """

    partition_key: str
    sort_key: str | None = None
    indexes: tuple[tuple[str, str, str], ...] = ()


CONTROL: Final = TableShape(partition_key="pk", sort_key="sk")
DAILY_LISTENS: Final = TableShape(
    partition_key="track_genre",
    sort_key="listen_date",
    indexes=(("by_listen_date", "listen_date", "track_genre"),),
)
TOP_GENRES: Final = TableShape(partition_key="listen_date")


class ServingTable(Construct):
    """An on-demand table whose items can expire, encrypted with the account's DynamoDB key.

    It holds counters and sums, no single listen, so it does without the lake's own key.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, table_name: str, shape: TableShape, promises: Environment
    ) -> None:
        super().__init__(scope, construct_id)
        self.table = dynamodb.TableV2(
            self,
            "Table",
            table_name=table_name,
            partition_key=_text(shape.partition_key),
            sort_key=_text(shape.sort_key) if shape.sort_key else None,
            global_secondary_indexes=[
                dynamodb.GlobalSecondaryIndexPropsV2(
                    index_name=name, partition_key=_text(partition), sort_key=_text(sort)
                )
                for name, partition, sort in shape.indexes
            ],
            billing=dynamodb.Billing.on_demand(),
            time_to_live_attribute=EXPIRY_ATTRIBUTE,
            encryption=dynamodb.TableEncryptionV2.aws_managed_key(),
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=promises.recovers_tables
            ),
            deletion_protection=promises.keeps_data,
            removal_policy=RemovalPolicy.RETAIN if promises.keeps_data else RemovalPolicy.DESTROY,
        )


def _text(name: str) -> dynamodb.Attribute:
    return dynamodb.Attribute(name=name, type=dynamodb.AttributeType.STRING)
