"""What moves data: the Glue jobs and the trigger that starts them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aws_cdk import Stack
from constructs import Construct

from infra.jobs import Jobs
from infra.trigger import Trigger

if TYPE_CHECKING:
    from infra.configuration import Configuration
    from infra.data_stack import DataStack


class PipelineStack(Stack):
    """Everything that a deployment of code replaces."""

    def __init__(
        self, scope: Construct, construct_id: str, *, configuration: Configuration, data: DataStack, **options: Any
    ) -> None:
        super().__init__(scope, construct_id, **options)
        self.jobs = Jobs(self, "Jobs", configuration=configuration, data=data)
        self.trigger = Trigger(self, "Trigger", configuration=configuration, data=data)
