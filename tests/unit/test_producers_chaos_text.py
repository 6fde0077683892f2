"""The text that asks for trouble: what it means, and what is refused."""

from __future__ import annotations

import pytest

from producers.chaos import Chaos, Outage
from producers.errors import ProducerError


def test_the_text_of_the_issue() -> None:
    chaos = Chaos.parse("throttle=5%,partial=2%,timeout=1%,outage=10s@30s")
    assert chaos == Chaos(throttle=0.05, partial=0.02, timeout=0.01, outages=(Outage(start=30.0, seconds=10.0),))


@pytest.mark.parametrize(
    ("text", "chaos"),
    [
        ("throttle=0%", Chaos()),
        (" partial=12.5% , throttle=100%", Chaos(partial=0.125, throttle=1.0)),
        ("outage=1m@0s,outage=250ms@2.5m", Chaos(outages=(Outage(0.0, 60.0), Outage(150.0, 0.25)))),
    ],
)
def test_parts_may_be_left_out_and_outages_be_many(text: str, chaos: Chaos) -> None:
    assert Chaos.parse(text) == chaos


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "nothing"),
        ("throttle=5%,", "nothing"),
        ("throttle", "throttle"),
        ("throttle=5", "throttle=5"),
        ("throttle=-5%", "throttle=-5%"),
        ("throttle=nan%", "throttle=nan%"),
        ("throttle=5%,throttle=6%", "throttle=6%"),
        ("brownout=5%", "brownout=5%"),
        ("outage=10s", "outage=10s"),
        ("outage=10@30", "outage=10@30"),
        ("outage=5%", "outage=5%"),
        ("partial=101%", "partial=101%"),
        ("throttle=60%,timeout=41%", "throttle=60%,timeout=41%"),
    ],
)
def test_other_texts_are_refused_and_named(text: str, found: str) -> None:
    with pytest.raises(ProducerError) as caught:
        Chaos.parse(text)
    assert f"found {found}" in str(caught.value)
