"""The errors that the Glue endpoint answers with; boto3 raises them under the same names."""

from __future__ import annotations

from typing import Any


class GlueError(Exception):
    """Root of what a caller of Glue can be told."""

    code = "InternalServiceException"
    status = 500

    def to_api(self) -> dict[str, Any]:
        """Return the body of the answer."""
        return {"__type": self.code, "Message": str(self), "message": str(self)}


class ConcurrentRunsExceededError(GlueError):
    """The job has as many live runs as it may."""

    code = "ConcurrentRunsExceededException"
    status = 400


class EntityNotFoundError(GlueError):
    """There is no such job or run."""

    code = "EntityNotFoundException"
    status = 400


class InvalidInputError(GlueError):
    """The request makes no sense."""

    code = "InvalidInputException"
    status = 400


class GlueUnavailableError(GlueError):
    """The cloud can't take requests now."""

    code = "OperationTimeoutException"
    status = 400
