"""The Spark session of every job: what the results depend on, and what the jobs' queries need wherever they run.

Where Spark runs, its jars, memory and endpoints are configuration (`spark-defaults.conf`, Glue's job arguments).
"""

from __future__ import annotations

from pyspark.sql import SparkSession
from pyspark.sql import types as T

from lakehouse.tables import Table

SEMANTICS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    # A start version that a retry has already consumed is an empty change feed, not an error.
    "spark.databricks.delta.changeDataFeed.timestampOutOfRange.enabled": "true",
    # A day's tracks and blocks of users are more keys than the small hash table holds that Spark looks into first.
    "spark.sql.codegen.aggregate.map.twolevel.enabled": "false",
    # What comes to the driver is bounded by who asks for it: the partials of a date may be more than a gigabyte.
    "spark.driver.maxResultSize": "0",
    # No limit. Spark would add up the bytes of all columns before each row that it hands to Python, which takes longer
    # than to hand it over; who hands over rows that may be large sets one.
    "spark.sql.execution.arrow.maxBytesPerBatch": str(2**31 - 1),
}


def build_session(app_name: str) -> SparkSession:
    """Return the session: UTC everywhere, Delta on, timestamps to the microsecond."""
    builder = SparkSession.builder.appName(app_name)
    for key, value in SEMANTICS.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("WARN")
    return session


def schema_of(table: Table) -> T.StructType:
    """Return the table's contract as Spark knows it."""
    schema = T.StructType.fromDDL(table.ddl)
    if not isinstance(schema, T.StructType):
        raise TypeError(f"the DDL of {table.name} describes no columns")
    return schema
