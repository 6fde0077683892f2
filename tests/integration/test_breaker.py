"""A run that rejects too much merges nothing and loses nothing; a higher rate goes on."""

from __future__ import annotations

import pytest

from lakehouse import layout
from lakehouse.errors import BreakerError
from tests.integration.laboratory import Lab
from tests.integration.records import listen, song

DAY = "2024-06-25"


def test_a_run_that_rejects_too_much_changes_nothing_until_the_rate_is_raised(lab: Lab) -> None:
    lab.put_users(1)
    lab.put_songs(song(1, "a"))
    known = [listen(1, "a", f"{DAY}T10:00:{second:02d}", sequence=second) for second in range(3)]
    lab.put_batch(0, *known)
    lab.transform(breaker_minimum=5)
    strangers = [listen(9, "a", f"{DAY}T11:00:{second:02d}", sequence=10 + second) for second in range(3)]
    lab.put_batch(1, *strangers, listen(1, "a", f"{DAY}T12:00:00", sequence=20))
    lab.put_by_hand("no-parquet.parquet", b"certainly not")
    everything = {key: lab.read(key) for key in lab.keys("")}
    version = lab.latest_version()
    with pytest.raises(BreakerError, match=r"found 3 of 4 events \(75\.0%\) in 2 batches: unknown_user 3"):
        lab.transform(breaker_minimum=4)
    assert {key: lab.read(key) for key in lab.keys("")} == everything
    assert lab.latest_version() == version
    facts = lab.transform(breaker_minimum=4, breaker_rate=0.75)
    assert (facts["accepted"], facts["rejected"]) == (1, {"unknown_user": 3})
    assert len(lab.latest()) == 4
    assert lab.keys(layout.PROCESSED) == []
