"""Errors of the local cloud, under `lakehouse.errors`.

ListenlakeError
└── LocalCloudError
    ├── ToolMissingError      Java, jars or Node can't be used (`local_cloud.setup`)
    ├── PortInUseError        the port asked for is taken
    ├── AlreadyRunningError   this state folder holds a running cloud
    ├── NotRunningError       there is no cloud to talk to
    └── DeployError           the CDK could not place the stack
"""

from __future__ import annotations

from lakehouse.errors import ListenlakeError


class LocalCloudError(ListenlakeError):
    """The laptop lacks something, or the local cloud did not come up."""


class ToolMissingError(LocalCloudError):
    """Java, the jars, Node or the CDK can't be used."""


class PortInUseError(LocalCloudError):
    """The port asked for is taken."""


class AlreadyRunningError(LocalCloudError):
    """The state folder holds a running cloud."""


class NotRunningError(LocalCloudError):
    """There is no running cloud under the state folder."""


class DeployError(LocalCloudError):
    """The CDK could not synthesise or place the stack."""
