"""Who is told when something is wrong, and where to look: topic, alarms and dashboard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aws_cdk import Aws, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from infra.alarms import AlarmShape, Figures, alarm_shapes
from infra.dashboard import build_dashboard
from lakehouse import layout

if TYPE_CHECKING:
    from infra.configuration import Configuration
    from infra.data_stack import DataStack
    from infra.pipeline_stack import PipelineStack

FAILED_STATES: Final = ("FAILED", "TIMEOUT", "ERROR")
JOBS: Final = (layout.INGEST_JOB, layout.TRANSFORM_JOB, layout.KPI_JOB)


class MonitoringStack(Stack):
    """Watches the other stacks and changes nothing in them."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        configuration: Configuration,
        data: DataStack,
        pipeline: PipelineStack,
        **options: Any,
    ) -> None:
        super().__init__(scope, construct_id, **options)
        self._prefix = configuration.prefix
        self.topic = self._topic(data, configuration.alarm_email)
        figures = Figures(data, pipeline.trigger)
        self.alarms = [self._alarm(shape) for shape in alarm_shapes(figures)]
        self._tell_of_failed_runs()
        build_dashboard(self, name=f"{configuration.prefix}-listenlake", figures=figures, alarms=self.alarms)

    def _topic(self, data: DataStack, email: str) -> sns.Topic:
        topic = sns.Topic(self, "Alarms", display_name="Listenlake", master_key=data.key, enforce_ssl=True)
        # A topic with a policy of its own no longer has the one by which alarms of the account may publish.
        topic.add_to_resource_policy(
            iam.PolicyStatement(
                sid="AlarmsOfThisAccount",
                principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
                actions=["sns:Publish"],
                resources=[topic.topic_arn],
                conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
            )
        )
        if email:
            topic.add_subscription(subscriptions.EmailSubscription(email))
        return topic

    def _alarm(self, shape: AlarmShape) -> cloudwatch.Alarm:
        operators = cloudwatch.ComparisonOperator
        missing = cloudwatch.TreatMissingData
        alarm = cloudwatch.Alarm(
            self,
            "".join(word.capitalize() for word in shape.name.split("-")),
            alarm_name=f"{self._prefix}-{shape.name}",
            alarm_description=f"{shape.meaning} Runbook: docs/operations.md, {shape.name}.",
            metric=shape.metric,
            threshold=shape.threshold,
            evaluation_periods=shape.periods,
            comparison_operator=operators.LESS_THAN_THRESHOLD
            if shape.below
            else operators.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            treat_missing_data=missing.NOT_BREACHING if shape.silence_is_fine else missing.BREACHING,
        )
        action = actions.SnsAction(self.topic)
        alarm.add_alarm_action(action)
        alarm.add_ok_action(action)
        return alarm

    def _tell_of_failed_runs(self) -> None:
        """Send each failed run to the topic with its error, which no figure holds."""
        pattern = events.EventPattern(
            source=["aws.glue"],
            detail_type=["Glue Job State Change"],
            detail={"jobName": list(JOBS), "state": list(FAILED_STATES)},
        )
        job, run, state, message = (
            events.EventField.from_path(f"$.detail.{name}") for name in ("jobName", "jobRunId", "state", "message")
        )
        text = events.RuleTargetInput.from_text(f"{job}: run {run} ended as {state}. {message}")
        target = targets.SnsTopic(self.topic, message=text)
        events.Rule(self, "RunFailed", event_pattern=pattern, targets=[target])
