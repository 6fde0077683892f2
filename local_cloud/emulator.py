"""The AWS emulator: ministack as a process of its own, on the loopback interface only.

It refuses PutEvents with a source of AWS's own, as AWS does; here the Glue endpoint is AWS, so the end of a job run
is let through. It looks through every record of a stream for expired ones at each call; here it does so when the oldest
one has expired, or a stream would take the less the more it holds. It decodes each record's base64 whenever one puts or
gets it, and writes JSON, with Python's own libraries; here Kinesis has faster ones, as it shares its cores with the job
and would be the slowest part of it. Its CloudFormation does not know Glue's security configurations, which its Glue
does: here it does. Docker, persistence and the listeners of services that nobody uses stay off.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import orjson
import pybase64

from local_cloud.environment import aws_environment, base_environment
from local_cloud.options import HOST

if TYPE_CHECKING:
    from local_cloud.state import State

GLUE_SOURCE: Final = "aws.glue"


def emulator_environment(
    host: Mapping[str, str], state: State, *, port: int, endpoint: str, glue_endpoint: str
) -> dict[str, str]:
    """Return the emulator's environment, which the Lambda processes inherit."""
    scratch = state.emulator.resolve()
    return {
        **base_environment(host),
        **aws_environment(endpoint=endpoint, glue_endpoint=glue_endpoint, configuration=state.aws_configuration),
        "BIND_HOST": HOST,
        "GATEWAY_PORT": str(port),
        "LAMBDA_EXECUTOR": "local",
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "DOCKER_HOST": f"unix://{scratch}/no-docker.sock",
        "PERSIST_STATE": "0",
        "STATE_DIR": str(scratch / "state"),
        "S3_DATA_DIR": str(scratch / "s3"),
        "TMPDIR": str(scratch),
    }


def is_ready(endpoint: str) -> bool:
    """Tell whether the emulator answers."""
    try:
        with urllib.request.urlopen(f"{endpoint}/_ministack/health", timeout=2) as answer:  # noqa: S310 - our own URL
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def admit_glue_events(put_events: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap the emulator's PutEvents so that it takes what Glue alone may send."""

    def put(data: dict[str, Any], allow_aws_source: bool = False) -> Any:
        sources = {str(entry.get("Source")) for entry in data.get("Entries", [])}
        return put_events(data, allow_aws_source=allow_aws_source or sources == {GLUE_SOURCE})

    return put


def expire_when_due(expire_records: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap the emulator's removal of expired records so that it is only tried when there is one."""

    def expire(stream: dict[str, Any]) -> None:
        cutoff = time.time() - stream["RetentionPeriodHours"] * 3600
        # Records stand in order of arrival: where the first is in time, all are.
        oldest = [shard["records"][0] for shard in stream["shards"].values() if shard["records"]]
        if any(record["ApproximateArrivalTimestamp"] < cutoff for record in oldest):
            expire_records(stream)

    return expire


def answer_fast(json_response: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap the emulator's answer in JSON so that the same is written faster."""

    def answer(data: dict[str, Any], *others: Any, **options: Any) -> Any:
        status, headers, _ = json_response({}, *others, **options)
        return status, headers, orjson.dumps(data)

    return answer


def security_configuration_type(glue: Any) -> dict[str, Callable[..., Any]]:
    """Return how CloudFormation makes and removes `AWS::Glue::SecurityConfiguration`, by the emulator's own Glue.

    A template that names a resource type without such handlers is refused.
    """

    def create(_logical_id: str, properties: dict[str, Any], _stack: str) -> tuple[str, dict[str, Any]]:
        # CloudFormation's word for the encryptions of S3 is the plural of the API's.
        encryption = dict(properties["EncryptionConfiguration"])
        encryption["S3Encryption"] = encryption.pop("S3Encryptions")
        status, _, body = glue._create_security_configuration({**properties, "EncryptionConfiguration": encryption})
        if status != 200:
            raise ValueError(f"AWS::Glue::SecurityConfiguration: {body!r}")
        return properties["Name"], {}

    def delete(name: str, _properties: dict[str, Any]) -> None:
        glue._delete_security_configuration({"Name": name})

    return {"create": create, "delete": delete}


def state_change_event(*, job: str, run_id: str, state: str, message: str) -> dict[str, Any]:
    """Return the entry that Glue puts on the default bus when a run ends."""
    severity = {"FAILED": "ERROR", "TIMEOUT": "WARN"}.get(state, "INFO")
    detail = {"jobName": job, "severity": severity, "state": state, "jobRunId": run_id, "message": message}
    return {"Source": GLUE_SOURCE, "DetailType": "Glue Job State Change", "Detail": json.dumps(detail)}


def main() -> None:
    """Run the emulator in the foreground."""
    from ministack import app  # noqa: PLC0415 - reads its environment when it is imported
    from ministack.services import eventbridge, glue, kinesis  # noqa: PLC0415
    from ministack.services.cloudformation import provisioners  # noqa: PLC0415

    eventbridge._put_events = admit_glue_events(eventbridge._put_events)
    kinesis.base64 = pybase64
    kinesis.json_response = answer_fast(kinesis.json_response)
    kinesis._expire_records = expire_when_due(kinesis._expire_records)
    provisioners._RESOURCE_HANDLERS["AWS::Glue::SecurityConfiguration"] = security_configuration_type(glue)
    app.main()


if __name__ == "__main__":
    main()
