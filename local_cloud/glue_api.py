"""The four Glue calls that the local endpoint answers itself, as plain functions from request to answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from local_cloud.glue_errors import GlueError, InvalidInputError
from local_cloud.glue_runner import GlueRunner

Call = Callable[[dict[str, Any]], dict[str, Any]]
PAGE: Final = 200


class GlueApi:
    """StartJobRun, GetJobRun, GetJobRuns and BatchStopJobRun over a runner."""

    def __init__(self, runner: GlueRunner, definition_of: Callable[[str], Mapping[str, Any]]) -> None:
        """Answer from `runner`.

        Args:
            runner: The runs.
            definition_of: Returns a job's definition, or raises `EntityNotFoundError`.
        """
        self._runner = runner
        self._definition_of = definition_of
        self.calls: dict[str, Call] = {
            "StartJobRun": self.start_job_run,
            "GetJobRun": self.get_job_run,
            "GetJobRuns": self.get_job_runs,
            "BatchStopJobRun": self.batch_stop_job_run,
        }

    def start_job_run(self, request: dict[str, Any]) -> dict[str, Any]:
        """Start a run."""
        arguments = request.get("Arguments", {})
        if not all(isinstance(value, str) and value for value in arguments.values()):
            raise InvalidInputError("Every job argument must be non-empty text.")
        definition = self._definition_of(_required(request, "JobName"))
        run = self._runner.start(definition, arguments, timeout=request.get("Timeout"))
        return {"JobRunId": run.id}

    def get_job_run(self, request: dict[str, Any]) -> dict[str, Any]:
        """Show one run."""
        return {"JobRun": self._runner.get(_required(request, "JobName"), _required(request, "RunId")).to_api()}

    def get_job_runs(self, request: dict[str, Any]) -> dict[str, Any]:
        """Show a page of a job's runs, newest first."""
        name = _required(request, "JobName")
        self._definition_of(name)
        start, size = int(request.get("NextToken", "0")), int(request.get("MaxResults", PAGE))
        runs = self._runner.history(name)
        answer: dict[str, Any] = {"JobRuns": [run.to_api() for run in runs[start : start + size]]}
        if start + size < len(runs):
            answer["NextToken"] = str(start + size)
        return answer

    def batch_stop_job_run(self, request: dict[str, Any]) -> dict[str, Any]:
        """Ask runs to stop; what can't be stopped is listed, not raised."""
        name = _required(request, "JobName")
        done: list[dict[str, Any]] = []
        errors: list[dict[str, Any]] = []
        for run_id in request.get("JobRunIds", []):
            entry: dict[str, Any] = {"JobName": name, "JobRunId": run_id}
            try:
                self._runner.stop(name, run_id)
            except GlueError as error:
                errors.append({**entry, "ErrorDetail": {"ErrorCode": error.code, "ErrorMessage": str(error)}})
            else:
                done.append(entry)
        return {"SuccessfulSubmissions": done, "Errors": errors}


def _required(request: Mapping[str, Any], name: str) -> str:
    value = request.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidInputError(f"{name} is required.")
    return value
