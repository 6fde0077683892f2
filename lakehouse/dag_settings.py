"""Settings of the Airflow DAG, read from the environment of Airflow as a job's are from its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lakehouse.settings import Places, setting


@dataclass(frozen=True, kw_only=True)
class DagSettings(Places):
    """Settings of the DAG; `LISTENLAKE_DAG_SCHEDULE` and its sisters set what is not a place."""

    program: ClassVar[str] = "music_streaming_pipeline"

    dag_schedule: str = setting("cron expression or preset of the DAG; a dash for runs by hand only", default="@hourly")
    dag_connection: str = setting("Airflow's connection to AWS", default="aws_default")
    alert_topic: str = setting("ARN of the SNS topic that hears of failed tasks; a dash for none", default="-")
    task_retries: int = setting("further tries of a task that has failed", default=2, minimum=0)
    retry_seconds: float = setting("seconds before the first further try; each next waits twice as long", default=60.0)
    look_seconds: int = setting("seconds between looks at S3 and at the runs of a job", default=30, minimum=1)
    input_timeout_seconds: float = setting(
        "seconds for which the DAG waits for dimension files and batches", default=600
    )
    job_timeout_seconds: float = setting(
        "seconds for which the DAG waits for a job to be free, and for its run", default=7200
    )
    audit_timeout_seconds: float = setting("seconds that an audit may take", default=3600)
