"""The Delta tables in the Glue Data Catalog, so that Athena and whoever else reads the catalog finds them by name.

Athena takes a Delta table's columns from its log; the columns here are for whoever browses.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from aws_cdk import Stack
from aws_cdk import aws_glue as glue
from constructs import Construct

from lakehouse.lake_tables import LAKE_TABLES, LakeTable
from lakehouse.settings import Places
from lakehouse.tables import Table

if TYPE_CHECKING:
    from infra.configuration import Configuration

DATABASE: Final = "listenlake"


class Catalog(Construct):
    """One database with every Delta table that others may read."""

    def __init__(self, scope: Construct, construct_id: str, *, configuration: Configuration) -> None:
        super().__init__(scope, construct_id)
        places = Places.with_prefix(configuration.prefix)
        self._database = glue.CfnDatabase(
            self,
            "Database",
            catalog_id=Stack.of(self).account,
            database_input=glue.CfnDatabase.DatabaseInputProperty(
                name=DATABASE, description="Music listens: curated listens and the KPIs of each day"
            ),
        )
        for table in LAKE_TABLES:
            if table.in_catalog:
                self._table(table, places)

    def _table(self, table: LakeTable, places: Places) -> None:
        location = f"{table.uri(places)}/"
        declared = glue.CfnTable(
            self,
            "".join(part.title() for part in table.name.split("_")),
            catalog_id=Stack.of(self).account,
            database_name=DATABASE,
            table_input=glue.CfnTable.TableInputProperty(
                name=table.name,
                table_type="EXTERNAL_TABLE",
                # `table_type` is Athena's mark of a Delta table, the provider is Spark's.
                parameters={"EXTERNAL": "TRUE", "table_type": "DELTA", "spark.sql.sources.provider": "delta"},
                storage_descriptor=glue.CfnTable.StorageDescriptorProperty(
                    location=location,
                    columns=[
                        glue.CfnTable.ColumnProperty(name=name, type=kind)
                        for name, kind in hive_columns(table.contract)
                    ],
                    # What Athena itself writes for a Delta table, and never reads.
                    input_format="org.apache.hadoop.mapred.SequenceFileInputFormat",
                    output_format="org.apache.hadoop.hive.ql.io.HiveSequenceFileOutputFormat",
                    serde_info=glue.CfnTable.SerdeInfoProperty(
                        serialization_library="org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe",
                        parameters={"path": location},
                    ),
                ),
            ),
        )
        declared.add_resource_dependency(self._database)


def hive_columns(table: Table) -> list[tuple[str, str]]:
    """Return each column of a contract with its type as Hive spells it: lower case, without blanks."""
    lines = (line.strip().split(maxsplit=1) for line in table.ddl.strip().split(",\n"))
    return [(name, re.sub(r"\s", "", kind).lower()) for name, kind in lines]
