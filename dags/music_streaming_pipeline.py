"""The pipeline as an Airflow DAG: dimension files → batches → `batch_transform` → `kpi_transformation` → audit.

Optional: the Lambda `start_jobs` drives the pipeline without it. It does what the Lambda does, by the same rules: it
starts the same Glue jobs, which list their input after they start and change nothing when there is none. So a run of
theirs too many is harmless, and a run that meets one of the Lambda waits for its end (docs/airflow.md).

In: environment variables `LISTENLAKE_*` (`lakehouse.dag_settings`) and the parameters of a run. Out: runs of the jobs,
and a failure with an alert when anything is missing, fails, takes too long or does not add up.
"""

from __future__ import annotations

import logging
import math
import os
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.amazon.aws.hooks.sns import SnsHook
from airflow.providers.amazon.aws.operators.glue import GlueJobOperator
from airflow.providers.amazon.aws.sensors.s3 import S3KeySensor
from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import DAG, BaseOperator, Context, Param, TriggerRule, task
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from botocore.exceptions import ClientError

from lakehouse import layout
from lakehouse.batches import has_pending
from lakehouse.dag_settings import DagSettings
from lakehouse.errors import SettingsError

logger = logging.getLogger(__name__)

SETTINGS: Final = DagSettings.parse([], os.environ)
AWS: Final = {"aws_conn_id": SETTINGS.dag_connection}
INPUT_TIMEOUT: Final = timedelta(seconds=SETTINGS.input_timeout_seconds)
JOB_TIMEOUT: Final = timedelta(seconds=SETTINGS.job_timeout_seconds)
LOOK_EVERY: Final = timedelta(seconds=SETTINGS.look_seconds)
SHOWN_FINDINGS: Final = 10
BEGAN: Final = "began"


class BatchSensor(BaseOperator):
    """Waits for a batch, by the rule that the Lambda goes by; skips what needs one if none comes in time.

    It looks from a worker and is deferred in between, when it holds none.
    """

    def execute(self, context: Context, **_event: Any) -> None:
        """Look; be deferred until the next look if there is nothing.

        Raises:
            AirflowSkipException: No batch came within `INPUT_TIMEOUT`.
        """
        if has_pending(S3Hook(**AWS).conn, SETTINGS.raw_bucket):
            return
        if _elapsed(context) >= INPUT_TIMEOUT:
            raise AirflowSkipException(f"no batch waits under {layout.PROCESSED} after {INPUT_TIMEOUT}")
        self.defer(trigger=TimeDeltaTrigger(LOOK_EVERY), method_name="execute")


class GlueJobWhenFree(GlueJobOperator):
    """Runs a Glue job once no other run of it is alive, whoever started that one.

    Waiting costs neither a worker nor a try. A try after one that was interrupted goes on with the run that it left.
    """

    def execute(self, context: Context, **_event: Any) -> Any:
        """Start the job; be deferred until its end, or until the next try to start it while Glue refuses.

        Raises:
            AirflowException: The job was not free within `JOB_TIMEOUT`.
        """
        try:
            return super().execute(context)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConcurrentRunsExceededException":
                raise
        return self._wait(context)

    def _wait(self, context: Context) -> None:
        if _elapsed(context) >= JOB_TIMEOUT:
            raise AirflowException(f"expected {self.job_name} to be free within {JOB_TIMEOUT}; found a run alive")
        self.log.info("another run of %s is alive; waiting for its end", self.job_name)
        self.defer(trigger=TimeDeltaTrigger(LOOK_EVERY), method_name="execute")


def run_job(job: str, arguments: dict[str, str], **options: Any) -> GlueJobWhenFree:
    """Return the task that runs a job, under the job's own name."""
    return GlueJobWhenFree(
        task_id=job,
        job_name=job,
        script_args=arguments,
        deferrable=True,
        waiter_delay=SETTINGS.look_seconds,
        waiter_max_attempts=math.ceil(SETTINGS.job_timeout_seconds / SETTINGS.look_seconds),
        **AWS,
        **options,
    )


def alert(context: Context) -> None:
    """Say that a task has failed for good: which one and where its log is, never what it worked on."""
    instance = context["ti"]
    text = (
        f"{instance.dag_id}: task {instance.task_id} of run {instance.run_id} failed at try {instance.try_number} "
        f"with {type(context.get('exception')).__name__}; its log in Airflow says why."
    )
    logger.error(text)
    if SETTINGS.alert_topic != "-":
        subject = f"Listenlake: {instance.task_id} failed"
        SnsHook(**AWS).publish_to_target(target_arn=SETTINGS.alert_topic, message=text, subject=subject)


def _elapsed(context: Context) -> timedelta:
    """Return for how long this try lasts, with what lies between a deferral and its end.

    XCom keeps when it began: Airflow clears that before each further try, and not after a deferral.
    """
    instance, now = context["ti"], datetime.now(UTC)
    began = instance.xcom_pull(task_ids=instance.task_id, key=BEGAN)
    if began is None:
        instance.xcom_push(key=BEGAN, value=now.isoformat())
        return timedelta()
    return now - datetime.fromisoformat(began)


@task.short_circuit(ignore_downstream_trigger_rules=False)
def check_request(params: dict[str, Any] | None = None) -> bool:
    """Check the parameters of this run against each other; each by itself is checked by its schema.

    Returns:
        Whether new input is to be merged first; a recompute needs none.

    Raises:
        AirflowFailException: They contradict each other, which no further try would change.
    """
    wanted = params or {}
    first, last = wanted["from_date"], wanted["to_date"]
    if wanted["mode"] != "recompute" and (first or last or wanted["repair"]):
        found = "from_date, to_date or repair with another mode"
        error = SettingsError(expected="mode recompute", found=found, do="Set mode, or leave the others out.")
        raise AirflowFailException(str(error))
    if first and last and first > last:
        error = SettingsError(expected="from_date up to to_date", found=f"{first} after {last}", do="Swap them.")
        raise AirflowFailException(str(error))
    return bool(wanted["mode"] == "incremental")


@task(execution_timeout=timedelta(seconds=SETTINGS.audit_timeout_seconds))
def audit() -> dict[str, Any]:
    """Account for every listen, as `listenlake audit` does.

    Returns:
        The account: events by what became of them.

    Raises:
        AirflowException: A stage lost, doubled or changed something. While a run of the other trigger writes, a stage
            may be ahead of the next one: a further try finds them at rest.
    """
    # Airflow reads this file all the time; DuckDB and Arrow are for the one task that needs them.
    from listenlake.audit import audit as take_audit  # noqa: PLC0415

    s3, dynamodb = (AwsBaseHook(client_type=service, **AWS).conn for service in ("s3", "dynamodb"))
    report = take_audit(s3, dynamodb, SETTINGS, now=datetime.now(UTC))
    for stage in report.stages:
        logger.info("%s: %s rows", stage["stage"], stage["rows"])
    if not report.is_clean:
        told = [finding.describe() for finding in report.findings[:SHOWN_FINDINGS]]
        if not report.account.closes:
            told.append(report.account.describe_gap())
        raise AirflowException(f"the audit found {len(report.findings)} differences: " + "; ".join(told))
    return report.account.to_json()


with DAG(
    dag_id=SETTINGS.program,
    description="Dimension files, batches, batch_transform, kpi_transformation, audit",
    doc_md=__doc__,
    schedule=None if SETTINGS.dag_schedule == "-" else SETTINGS.dag_schedule,
    start_date=datetime(2024, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    tags=["listenlake"],
    default_args={
        "retries": SETTINGS.task_retries,
        "retry_delay": timedelta(seconds=SETTINGS.retry_seconds),
        "retry_exponential_backoff": 2,
        "max_retry_delay": timedelta(hours=1),
        # Bounds what a worker does; what lies between a deferral and its end is bounded by the task itself.
        "execution_timeout": timedelta(minutes=10),
        "on_failure_callback": alert,
    },
    params={
        "mode": Param("incremental", type="string", enum=["incremental", "recompute"]),
        "from_date": Param(None, type=["null", "string"], format="date", description="first date of a recompute"),
        "to_date": Param(None, type=["null", "string"], format="date", description="last date of a recompute"),
        "repair": Param(False, type="boolean", description="put right what a recompute finds different"),
    },
) as music_streaming_pipeline:
    dimension_files = S3KeySensor(
        task_id="dimension_files",
        bucket_name=SETTINGS.raw_bucket,
        bucket_key=[layout.USERS_KEY, layout.SONGS_KEY],
        deferrable=True,
        poke_interval=SETTINGS.look_seconds,
        timeout=SETTINGS.input_timeout_seconds,
        **AWS,
    )
    kpis = run_job(
        layout.KPI_JOB,
        {
            "--mode": "{{ params.mode }}",
            "--from_date": "{{ params.from_date or '-' }}",
            "--to_date": "{{ params.to_date or '-' }}",
            "--repair": "{{ 'true' if params.repair else 'false' }}",
        },
        # Also when no batch came: a KPI run that failed may have left something to do.
        trigger_rule=TriggerRule.NONE_FAILED,
    )
    (
        check_request()
        >> dimension_files
        >> BatchSensor(task_id="batches")
        >> run_job(layout.TRANSFORM_JOB, {})
        >> kpis
        >> audit()
    )
