"""The wrappers around the emulator's own functions."""

from __future__ import annotations

import time
from typing import Any

from local_cloud.emulator import admit_glue_events, expire_when_due


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


def test_only_glue_may_send_events_of_aws() -> None:
    allowed: list[bool] = []

    def put_events(_data: dict[str, Any], *, allow_aws_source: bool) -> None:
        allowed.append(allow_aws_source)

    put = admit_glue_events(put_events)
    for sources in (["aws.glue"], ["aws.s3"], ["aws.glue", "aws.s3"], []):
        put({"Entries": [{"Source": source} for source in sources]})
    assert allowed == [True, False, False, False]
