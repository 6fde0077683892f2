"""Two hundred files in bursts, during running jobs, while one event in ten is lost and one in five comes twice.

That no two runs of a job are ever alive at once is Glue's own limit; the trigger has to get along with it.
"""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING

import pytest

from lakehouse import layout
from tests.unit.trigger_days import RUN_SECONDS, Day, fewest_runs

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

FILES, BURST = 200, 10


@pytest.mark.parametrize("seed", [0, 3])
def test_every_file_is_processed_by_hardly_more_runs_than_needed(
    s3: S3Client, dynamodb: DynamoDBClient, raw_bucket: str, control_table: str, seed: int
) -> None:
    chance = random.Random(seed)
    day = Day(s3, dynamodb, raw_bucket, control_table, chance)
    arrivals: list[float] = []
    for start in range(0, FILES, BURST):
        begins = (arrivals[-1] if arrivals else 0.0) + chance.uniform(5, 120)
        arrivals += sorted(begins + chance.uniform(0, 4) for _ in range(BURST))
        for number in range(start, start + BURST):
            day.at(arrivals[number], partial(day.arrive, number))
    for quarter in range(1, 16):
        day.at(quarter * 900.0, day.sweep)
    day.go_on()

    assert day.lost > FILES * 0.05
    assert day.doubled > FILES * 0.1
    assert day.refused > 20, "files came while jobs ran"
    assert not day.pending
    assert len(day.curated) == FILES
    assert set(day.curated.values()) == {1}
    assert day.served == day.curated.keys()
    merged = [run.started + RUN_SECONDS[run.job] for run in day.runs if run.job == layout.TRANSFORM_JOB and run.read]
    # The KPIs have to follow each run that merged something; a merge that comes before their listing needs no second.
    for job, inputs in ((layout.TRANSFORM_JOB, arrivals), (layout.KPI_JOB, merged)):
        runs = [run for run in day.runs if run.job == job]
        assert len(runs) <= fewest_runs(inputs, job) + 2, job
