"""The wrappers around the emulator's own functions."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from local_cloud.emulator import admit_glue_events, answer_fast, expire_when_due, security_configuration_type


def test_records_are_looked_through_only_when_the_oldest_has_expired() -> None:
    calls: list[dict[str, Any]] = []
    expire = expire_when_due(calls.append)
    now = time.time()
    records = [{"ApproximateArrivalTimestamp": now - age} for age in (3_599, 10, 0)]
    stream = {"RetentionPeriodHours": 1, "shards": {"0": {"records": []}, "1": {"records": records}}}
    expire(stream)
    assert calls == []
    records.insert(0, {"ApproximateArrivalTimestamp": now - 3_601})
    expire(stream)
    assert calls == [stream]


def test_an_answer_in_json_is_the_emulators_own() -> None:
    def json_response(data: Any, status: int = 200, *, content_type: str = "json") -> Any:
        return status, {"Content-Type": content_type}, json.dumps(data, ensure_ascii=False).encode()

    data = {"Records": [{"Data": "YQ==", "ApproximateArrivalTimestamp": 1.25, "PartitionKey": 'é "'}], "Next": None}
    answer = answer_fast(json_response)
    for (status, headers, body), expected in (
        (answer(data), json_response(data)),
        (answer(data, 400, content_type="x"), json_response(data, 400, content_type="x")),
    ):
        assert (status, headers, json.loads(body)) == (*expected[:2], json.loads(expected[2]))


def test_only_glue_may_send_events_of_aws() -> None:
    allowed: list[bool] = []

    def put_events(_data: dict[str, Any], *, allow_aws_source: bool) -> None:
        allowed.append(allow_aws_source)

    put = admit_glue_events(put_events)
    for sources in (["aws.glue"], ["aws.s3"], ["aws.glue", "aws.s3"], []):
        put({"Entries": [{"Source": source} for source in sources]})
    assert allowed == [True, False, False, False]


def test_a_security_configuration_is_made_by_the_emulators_own_glue() -> None:
    known: dict[str, dict[str, Any]] = {}

    class Glue:
        @staticmethod
        def _create_security_configuration(data: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
            if data["Name"] in known:
                return 400, {}, b"already exists"
            known[data["Name"]] = data["EncryptionConfiguration"]
            return 200, {}, b"{}"

        @staticmethod
        def _delete_security_configuration(data: dict[str, Any]) -> None:
            del known[data["Name"]]

    handlers = security_configuration_type(Glue)
    declared = {"Name": "acme", "EncryptionConfiguration": {"S3Encryptions": [{"S3EncryptionMode": "SSE-KMS"}]}}
    assert handlers["create"]("Logical", declared, "stack") == ("acme", {})
    assert known == {"acme": {"S3Encryption": [{"S3EncryptionMode": "SSE-KMS"}]}}
    with pytest.raises(ValueError, match="already exists"):
        handlers["create"]("Logical", declared, "stack")
    handlers["delete"]("acme", {})
    assert known == {}
