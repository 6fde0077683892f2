"""What a call to AWS asks of IAM: actions on resources, by the Service Authorization Reference.

Only what the pipeline's code calls is known; anything else is an error and never a guess.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.e2e.loopback_proxy import Call
from tests.infra.role_policies import Request

# The first words of a call's target are the service's; DynamoDB and Kinesis name tables and streams alike.
TABLE_CALLS: Final = frozenset({"DeleteItem", "GetItem", "PutItem", "Query", "Scan", "UpdateItem"})
STREAM_CALLS: Final = frozenset({"DescribeStreamSummary", "GetShardIterator", "ListShards"})
JOB_CALLS: Final = frozenset({"GetJobRun", "GetJobRuns", "StartJobRun"})
# Parts of S3's queries that say nothing of what is asked for.
PLAIN: Final = frozenset({"x-id", "partNumber", "encoding-type", "fetch-owner", "delimiter", "max-keys"})
PLACES: Final = frozenset({"prefix", "start-after", "continuation-token"})
# Headers by which a call asks for more than its own action.
MORE: Final = frozenset({"x-amz-acl", "x-amz-tagging", "x-amz-bypass-governance-retention"})


class UnknownCallError(Exception):
    """A call whose actions are not written down here."""


@dataclass
class IamRequests:
    """Reads calls; remembers which stream an iterator belongs to, since GetRecords does not say.

    Attributes:
        account: Whose resources they are.
        region: Where they are.
    """

    account: str
    region: str
    _streams: dict[str, str] = field(default_factory=dict)

    def of(self, call: Call) -> list[Request]:
        """Return what IAM is asked for a call.

        Raises:
            UnknownCallError: That is not known.
        """
        if call.target:
            service, _, name = call.target.partition(".")
            return [self._of_target(service, name, json.loads(call.body))]
        return _of_s3(call)

    def hear(self, call: Call, answer: bytes) -> None:
        """Learn whose an iterator is."""
        service, _, name = call.target.partition(".")
        if service.startswith("Kinesis") and name in ("GetShardIterator", "GetRecords"):
            asked, told = json.loads(call.body), json.loads(answer)
            stream = asked.get("StreamName") or self._streams[asked["ShardIterator"]]
            if following := told.get("ShardIterator") or told.get("NextShardIterator"):
                self._streams[following] = stream

    def _of_target(self, service: str, name: str, body: Mapping[str, Any]) -> Request:
        if service.startswith("DynamoDB") and name in TABLE_CALLS:
            return Request(f"dynamodb:{name}", self._arn("dynamodb", f"table/{body['TableName']}"))
        if service.startswith("Kinesis") and name in STREAM_CALLS:
            return Request(f"kinesis:{name}", self._arn("kinesis", f"stream/{body['StreamName']}"))
        if service.startswith("Kinesis") and name == "GetRecords":
            return Request("kinesis:GetRecords", self._arn("kinesis", f"stream/{self._streams[body['ShardIterator']]}"))
        if service == "AWSGlue" and name in JOB_CALLS:
            return Request(f"glue:{name}", self._arn("glue", f"job/{body['JobName']}"))
        raise UnknownCallError(f"{service}.{name}")

    def _arn(self, service: str, resource: str) -> str:
        return f"arn:aws:{service}:{self.region}:{self.account}:{resource}"


def _of_s3(call: Call) -> list[Request]:
    headers, parts = call.headers, urlsplit(call.path)
    query = {name: value for name, value in parse_qsl(parts.query, keep_blank_values=True) if name not in PLAIN}
    bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
    asked = (call.method, "object" if key else "bucket", *sorted(query.keys() - PLACES), *sorted(MORE & headers.keys()))
    match asked:
        case ("GET", "bucket", "list-type"):
            return [Request("s3:ListBucket", _s3(bucket), {"s3:prefix": query.get("prefix", "")})]
        case ("POST", "bucket", "delete"):
            listed = ET.fromstring(call.body).iter()  # noqa: S314 - our own jobs wrote it
            keys = [found.text or "" for found in listed if found.tag.endswith("Key")]
            return [Request("s3:DeleteObject", _s3(bucket, one)) for one in keys]
        case ("GET" | "HEAD", "object"):
            return [Request("s3:GetObject", _s3(bucket, key))]
        case ("DELETE", "object"):
            return [Request("s3:DeleteObject", _s3(bucket, key))]
        case ("DELETE", "object", "uploadId"):
            return [Request("s3:AbortMultipartUpload", _s3(bucket, key))]
        case ("PUT", "object") | ("PUT" | "POST", "object", "uploadId") | ("POST", "object", "uploads"):
            return [
                Request("s3:PutObject", _s3(bucket, key)),
                *_of_source(headers),
                *_of_condition(bucket, key, headers),
            ]
    raise UnknownCallError(f"S3 {asked}")


def _of_source(headers: Mapping[str, str]) -> list[Request]:
    """A copy reads what it copies."""
    source = unquote(headers.get("x-amz-copy-source", "")).lstrip("/")
    return [Request("s3:GetObject", _s3(*source.split("/", 1)))] if source else []


def _of_condition(bucket: str, key: str, headers: Mapping[str, str]) -> list[Request]:
    """To compare an ETag S3 reads the object; that there be none is no reading."""
    return [Request("s3:GetObject", _s3(bucket, key))] if "if-match" in headers else []


def _s3(bucket: str, key: str = "") -> str:
    return f"arn:aws:s3:::{bucket}/{key}" if key else f"arn:aws:s3:::{bucket}"
