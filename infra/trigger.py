"""From "something happened" to a running job: rules and schedules → queue → Lambda `start_jobs`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_event_sources as event_sources
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra import code_assets, grants
from infra.acknowledgements import acknowledge, acknowledge_checkov
from infra.environments import TRIGGER_MEMORY_MB
from infra.hints import Hints
from lakehouse import layout
from lakehouse.settings import TriggerSettings

if TYPE_CHECKING:
    from infra.configuration import Configuration
    from infra.data_stack import DataStack

STARTED_JOBS: Final = (layout.TRANSFORM_JOB, layout.KPI_JOB)
BY_SQS: Final = {"CKV_AWS_27": "SQS encrypts it with its own key: it holds names of objects and no listens."}
UNBOUND_FUNCTION: Final = {
    "CKV_AWS_115": "The queue starts at most two at once; a reserve would be taken from the rest of the account.",
    "CKV_AWS_116": "It is called by a queue, which has the queue of dead letters.",
    "CKV_AWS_117": "It calls nothing but AWS, and there is nothing of ours in a VPC.",
    "CKV_AWS_173": "Its variables are names of buckets and tables; Lambda encrypts them with its own key.",
}
LOG_RETENTION: Final = {30: logs.RetentionDays.ONE_MONTH, 365: logs.RetentionDays.ONE_YEAR}
FUNCTION_TIMEOUT: Final = Duration.seconds(60)


class Trigger(Construct):
    """The queue of hints and the function that acts on them."""

    def __init__(self, scope: Construct, construct_id: str, *, configuration: Configuration, data: DataStack) -> None:
        super().__init__(scope, construct_id)
        self.dead_letters = sqs.Queue(
            self,
            "DeadLetters",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=Duration.days(14),
        )
        self.queue = sqs.Queue(
            self,
            "Hints",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            # Six times the function's timeout, as Lambda asks of its queues.
            visibility_timeout=Duration.seconds(6 * FUNCTION_TIMEOUT.to_seconds()),
            dead_letter_queue=sqs.DeadLetterQueue(queue=self.dead_letters, max_receive_count=5),
        )
        for queue in (self.queue, self.dead_letters):
            acknowledge_checkov(queue, BY_SQS)
        Hints(
            self,
            "Sources",
            queue=self.queue,
            dead_letters=self.dead_letters,
            raw_bucket=data.raw.bucket_name,
            jobs=STARTED_JOBS,
        )
        self.function = self._function(configuration, data)
        acknowledge(self.function, "L1", "3.13 is the Python of Glue 6.0 too: `lakehouse` runs on one version.")
        acknowledge_checkov(self.function, UNBOUND_FUNCTION)
        self.function.add_event_source(
            event_sources.SqsEventSource(self.queue, batch_size=10, max_concurrency=2, report_batch_item_failures=True)
        )

    def _function(self, configuration: Configuration, data: DataStack) -> lambda_.Function:
        log_group = logs.LogGroup(
            self,
            "Logs",
            retention=LOG_RETENTION[configuration.promises.log_days],
            encryption_key=data.key,
            removal_policy=RemovalPolicy.DESTROY,
        )
        role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        for statement in self._statements(log_group, data):
            role.add_to_policy(statement)
        with code_assets.scratch_folder() as folder:
            return lambda_.Function(
                self,
                "StartJobs",
                function_name=TriggerSettings.program,
                runtime=lambda_.Runtime.PYTHON_3_13,
                architecture=lambda_.Architecture.ARM_64,
                handler="lambdas.start_jobs.handler.lambda_handler",
                code=lambda_.Code.from_asset(str(code_assets.copy_lambda_code(configuration.project, folder))),
                environment=TriggerSettings.with_prefix(configuration.prefix).to_environment(),
                role=role,
                log_group=log_group,
                memory_size=TRIGGER_MEMORY_MB,
                timeout=FUNCTION_TIMEOUT,
            )

    def _statements(self, log_group: logs.LogGroup, data: DataStack) -> list[iam.PolicyStatement]:
        stack = Stack.of(self)
        return [
            iam.PolicyStatement(
                actions=["logs:CreateLogStream", "logs:PutLogEvents"], resources=[log_group.log_group_arn]
            ),
            iam.PolicyStatement(
                actions=["glue:StartJobRun", "glue:GetJobRun", "glue:GetJobRuns"],
                resources=[stack.format_arn(service="glue", resource="job", resource_name=job) for job in STARTED_JOBS],
            ),
            iam.PolicyStatement(
                actions=["s3:ListBucket"],
                resources=[data.raw.bucket_arn],
                conditions={"StringLike": {"s3:prefix": [layout.PROCESSED, f"{layout.PROCESSED}*"]}},
            ),
            grants.on_table(data.control, grants.COUNT_ITEMS),
        ]
