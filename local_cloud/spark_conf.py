"""Spark's configuration on the laptop. Jobs set what they mean; where and how they run is set here."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from local_cloud.environment import ACCESS_KEY
from local_cloud.options import HOST, REGION, CloudOptions

_OFTEN: Final = 10
_JVM: Final = (
    # Python sources nest deeply: with the default stack a long query ended in a StackOverflowError.
    "-Xss8m",
    # Two cores are shared by the job and what the JVM does beside it. A run of seconds ends before most of what the
    # second compiler makes of it pays: that one gets what runs ten times as often as by default, so that a run over
    # millions of listens still has its loops compiled.
    "-XX:+UseSerialGC",
    f"-XX:Tier4InvocationThreshold={5_000 * _OFTEN}",
    f"-XX:Tier4MinInvocationThreshold={600 * _OFTEN}",
    f"-XX:Tier4CompileThreshold={15_000 * _OFTEN}",
    f"-XX:Tier4BackEdgeThreshold={40_000 * _OFTEN}",
)

LOG4J: Final = """\
rootLogger.level = warn
rootLogger.appenderRef.stderr.ref = stderr
appender.stderr.type = Console
appender.stderr.name = stderr
appender.stderr.target = SYSTEM_ERR
appender.stderr.layout.type = PatternLayout
appender.stderr.layout.pattern = %d{yyyy-MM-dd HH:mm:ss} %p %c{1}: %m%n%ex
# Says once a session that there is no native Hadoop library.
logger.native.name = org.apache.hadoop.util.NativeCodeLoader
logger.native.level = error
# Says once a session that a cluster manager would override the scratch folder.
logger.conf.name = org.apache.spark.SparkConf
logger.conf.level = error
# Says that a logged plan was shortened.
logger.plan.name = org.apache.spark.sql.catalyst.util.SparkStringUtils
logger.plan.level = error
# Looks for a metrics file that nobody has.
logger.metrics.name = org.apache.hadoop.metrics2.impl.MetricsConfig
logger.metrics.level = error
"""


def write_spark_conf(folder: Path, *, endpoint: str, jars: Path, options: CloudOptions) -> Path:
    """Write Spark's configuration below `folder` and return the configuration's own folder.

    Args:
        folder: Spark's part of the state folder.
        endpoint: URL of S3.
        jars: Folder of the jars for Delta and S3.
        options: Master and memory.
    """
    conf = folder / "conf"
    conf.mkdir(parents=True, exist_ok=True)
    (folder / "scratch").mkdir(exist_ok=True)
    values = {
        **_session(folder, jars, options),
        **_delta(),
        **{f"spark.hadoop.{name}": value for name, value in _s3a(folder, endpoint).items()},
    }
    lines = [f"{name} {value}\n" for name, value in values.items()]
    (conf / "spark-defaults.conf").write_text("".join(lines))
    (conf / "log4j2.properties").write_text(LOG4J)
    return conf


def _session(folder: Path, jars: Path, options: CloudOptions) -> dict[str, str]:
    return {
        "spark.master": options.spark_master,
        "spark.driver.memory": options.driver_memory,
        # The executor is the driver's own JVM, so its class path is enough and nothing is copied for each session.
        "spark.driver.extraClassPath": f"{jars}/*",
        "spark.driver.extraJavaOptions": " ".join(
            [*_JVM, f"-Duser.home={folder}", f"-Djava.io.tmpdir={folder / 'scratch'}"]
        ),
        "spark.driver.bindAddress": HOST,
        "spark.driver.host": HOST,
        "spark.ui.enabled": "false",
        # Without a UI nobody looks at what has run, and its plans would fill the heap of a session that lives long.
        "spark.sql.ui.retainedExecutions": "1",
        "spark.ui.retainedJobs": "1",
        "spark.ui.retainedStages": "1",
        "spark.ui.retainedTasks": "1",
        "spark.ui.showConsoleProgress": "false",
        "spark.local.dir": f"{folder / 'scratch'}",
        "spark.sql.warehouse.dir": f"{folder / 'warehouse'}",
        # Two cores and thousands of rows: the default of 200 tasks is all overhead.
        "spark.sql.shuffle.partitions": "2",
        # As many tasks as a listing may have: Delta's VACUUM lists with thousands otherwise.
        "spark.sql.sources.parallelPartitionDiscovery.parallelism": "2",
    }


def _delta() -> dict[str, str]:
    return {
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.databricks.delta.snapshotPartitions": "2",
    }


def _s3a(folder: Path, endpoint: str) -> dict[str, str]:
    return {
        # Addresses are s3://, as on Glue.
        "fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
        "fs.AbstractFileSystem.s3.impl": "org.apache.hadoop.fs.s3a.S3A",
        "fs.s3a.endpoint": endpoint,
        "fs.s3a.endpoint.region": REGION,
        "fs.s3a.path.style.access": "true",
        "fs.s3a.connection.ssl.enabled": "false",
        "fs.s3a.aws.credentials.provider": "org.apache.hadoop.fs.s3a.SimpleAWSCredentialsProvider",
        "fs.s3a.access.key": ACCESS_KEY,
        "fs.s3a.secret.key": ACCESS_KEY,
        "fs.s3a.buffer.dir": f"{folder / 'scratch'}",
        # A cloud that is gone should be noticed in seconds.
        "fs.s3a.attempts.maximum": "3",
        "fs.s3a.retry.limit": "3",
    }
