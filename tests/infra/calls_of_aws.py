"""What AWS asks of IAM in a role's name without a call of our code, and what only a failure makes the code call.

No demo on the emulator shows these; they are read from the documentation of KMS, Glue, Lambda and S3.
"""

from collections.abc import Iterable

from lakehouse.settings import Places
from tests.infra.role_policies import INGEST, KPI, TRANSFORM, TRIGGER, Policies, Request

GLUE_LOGS = ("CreateLogGroup", "CreateLogStream", "PutLogEvents", "AssociateKmsKey")
POLLING = ("ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility", "GetQueueAttributes", "GetQueueUrl")


def key(policies: Policies, service: str, *actions: str) -> list[Request]:
    """Calls of KMS that a service makes in the role's name; with no service, the role's own."""
    arn = placed(policies, "kms", "key/", "AWS::KMS::Key")
    context = {"kms:ViaService": f"{service}.{policies.region}.amazonaws.com"} if service else {}
    return [Request(f"kms:{action}", arn, context) for action in actions]


def in_their_name(policies: Policies, places: Places) -> dict[str, list[Request]]:
    """Return these calls by role."""
    # An upload in parts reads its own parts back, so whoever writes decrypts too.
    of_a_job = [*key(policies, "s3", "Decrypt", "GenerateDataKey"), *_of_glue(policies)]
    return {
        INGEST: [
            *of_a_job,
            *key(policies, "kinesis", "Decrypt"),
            *_aborted(places.raw_bucket, ("processed-streams", "bad-records", "checkpoints/ingest_listens")),
        ],
        TRANSFORM: [
            *of_a_job,
            *_aborted(places.raw_bucket, ("processed-streams", "archives", "bad-records")),
            *_aborted(places.curated_bucket, ("transformed-data/latest", "dimensions/users", "dimensions/songs")),
        ],
        KPI: [
            *of_a_job,
            *_aborted(places.curated_bucket, ("transformed-data/archive", "transformed-data/partials")),
            *_aborted(places.presentation_bucket, ("daily_listens", "top_genres", "logs")),
        ],
        TRIGGER: _of_lambda(policies),
    }


def placed(policies: Policies, service: str, kind: str, resource_type: str, begins: str = "") -> str:
    """Return the ARN of the one resource of a type whose logical id begins so."""
    (name,) = (
        name
        for template in policies.templates.values()
        for name, resource in template["Resources"].items()
        if resource["Type"] == resource_type and name.startswith(begins)
    )
    return f"arn:aws:{service}:{policies.region}:{policies.account}:{kind}{name}"


def _of_glue(policies: Policies) -> list[Request]:
    """What Glue writes for a run; log groups as its documentation names them."""
    group = f"arn:aws:logs:{policies.region}:{policies.account}:log-group:/aws-glue/jobs/output:log-stream:jr_1"
    figures = Request("cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": "Glue"})
    return [*(Request(f"logs:{action}", group) for action in GLUE_LOGS), figures]


def _of_lambda(policies: Policies) -> list[Request]:
    """Lambda reads the queue and writes the function's log."""
    queue = placed(policies, "sqs", "", "AWS::SQS::Queue", "TriggerHints")
    log = placed(policies, "logs", "log-group:", "AWS::Logs::LogGroup", "TriggerLogs")
    return [
        *(Request(f"sqs:{action}", queue) for action in POLLING),
        *(Request(f"logs:{action}", log) for action in ("CreateLogStream", "PutLogEvents")),
    ]


def _aborted(bucket: str, prefixes: Iterable[str]) -> list[Request]:
    """A write of more than one part that fails in the middle is given up."""
    return [Request("s3:AbortMultipartUpload", f"arn:aws:s3:::{bucket}/{prefix}/file") for prefix in prefixes]
