"""The fake counters answer as the real ones on DynamoDB (moto)."""

from __future__ import annotations

import random
from typing import Any

import pytest

from lambdas.start_jobs.counters import Counters
from lambdas.start_jobs.messages import Request
from tests.unit.fake_counters import FakeCounters


@pytest.mark.parametrize("seed", range(5))
def test_the_fake_counters_answer_as_the_real_ones(seed: int, dynamodb: Any, control_table: str) -> None:
    rng = random.Random(seed)
    real, fake = Counters(dynamodb, control_table), FakeCounters()
    for _ in range(60):
        calls: list[tuple[str, tuple[int, ...], dict[str, Any]]] = [
            ("ask", (), {}),
            ("ask", (), {"after": rng.choice([1.0, 1.25, 1795675438.526934])}),
            ("succeed", (rng.randint(1, 12),), {}),
            ("fail", (rng.randint(1, 12),), {"run_id": rng.choice("abcd")}),
            ("forgive", (), {}),
        ]
        name, arguments, keywords = rng.choice(calls)
        for counters in (real, fake):
            getattr(counters, name)(Request.BATCH_TRANSFORM, *arguments, **keywords)
        assert real.read(Request.BATCH_TRANSFORM) == fake.read(Request.BATCH_TRANSFORM), (name, arguments, keywords)
