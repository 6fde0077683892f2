"""The breaker by hand-written figures, and how a job's error ends under Glue and elsewhere."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from batch_jobs.breaker import Breaker
from lakehouse import jobs
from lakehouse.batches import BatchId, Manifest
from lakehouse.errors import BreakerError, SettingsError
from lakehouse.settings import TransformSettings

PLACES = ["--raw_bucket", "r", "--curated_bucket", "c", "--presentation_bucket", "p"]


def batch(number: int, **rejected: int) -> Manifest:
    moment = datetime(2024, 6, 25, tzinfo=UTC)
    return Manifest(id=BatchId("g", str(number)), attempt="a", files=(), rows=0, rejected=rejected, committed_at=moment)


def test_ingestion_and_enrichment_count_together() -> None:
    batches = [batch(0, invalid_json=15, wrong_type=1), batch(1, invalid_json=4)]
    outcomes = {"accepted": 60, "duplicate": 9, "unknown_user": 11}
    Breaker(rate=0.31, minimum=100).check(batches, outcomes)
    expected = (
        "expected at most 30.0% of the input rejected; found 31 of 100 events (31.0%) in 2 batches: "
        "invalid_json 19, unknown_user 11, wrong_type 1. Nothing was merged"
    )
    with pytest.raises(BreakerError, match=re.escape(expected)):
        Breaker(rate=0.3, minimum=100).check(batches, outcomes)


def test_below_the_minimum_and_at_rate_1_everything_goes_on() -> None:
    Breaker(rate=0.0, minimum=11).check([batch(0, invalid_json=10)], {})
    Breaker(rate=1.0, minimum=0).check([batch(0, invalid_json=10)], {})
    Breaker(rate=0.0, minimum=0).check([batch(0)], {})


@pytest.mark.parametrize("rate", ["20", "-0.1", "nan"])
def test_a_rate_that_is_no_share_is_refused(rate: str) -> None:
    with pytest.raises(SettingsError, match="--breaker_rate from 0 to 1"):
        TransformSettings.parse([*PLACES, f"--breaker_rate={rate}"], {})


def test_under_glue_an_error_is_raised_and_elsewhere_it_is_an_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Glue's `ErrorMessage` is the last line of what was raised; of `sys.exit(1)` it says `SystemExit: 1`."""

    def stop(*_args: Any, **_settings: Any) -> None:
        raise BreakerError(expected="less", found="more", do="Look.")

    monkeypatch.setattr(jobs, "_run_and_report", stop)
    assert jobs.run_job(TransformSettings, stop, arguments=PLACES, environment={}) == 1
    with pytest.raises(BreakerError, match=r"expected less; found more\. Look\."):
        jobs.run_job(TransformSettings, stop, arguments=[*PLACES, "--JOB_RUN_ID", "jr_1"], environment={})
    with pytest.raises(SettingsError, match="raw_bucket"):
        jobs.run_job(TransformSettings, stop, arguments=["--JOB_RUN_ID", "jr_1"], environment={})
