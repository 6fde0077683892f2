"""More at once than any page, list or loop of the jobs is made for: objects, batches, dates."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from typing import Final

import pytest

from lakehouse import lake_tables, layout
from tests.integration.kpi_oracle import by_duckdb, presented
from tests.integration.laboratory import Lab
from tests.integration.records import listen, song

BATCHES: Final = 350
DATES: Final = 100
FIRST: Final = date(2024, 1, 1)
USERS: Final = (1, 2, 3)
GENRES: Final = ("rock", "pop")


@pytest.mark.timeout(600)
def test_over_a_thousand_objects_and_a_hundred_dates_in_one_run(lab: Lab) -> None:
    lab.put_users(*USERS)
    lab.put_songs(*[song(number, f"track-{number}", genre=genre) for number, genre in enumerate(GENRES)])
    events = []
    for number in range(BATCHES):
        day = FIRST + timedelta(number % DATES)
        rows = [
            listen(
                USERS[(number + place) % len(USERS)],
                f"track-{(number + place) % len(GENRES)}",
                f"{day}T10:{place:02d}:{number // DATES:02d}",
                sequence=100 * number + place,
            )
            for place in range(3)
        ]
        events += [row["event_id"] for row in rows]
        lab.put_batch(number, *rows, files=2)
    objects = lab.keys(layout.PROCESSED)
    assert len(objects) > 1000

    lab.transform()
    facts = lab.kpis()

    assert lab.keys(layout.PROCESSED) == []
    assert len(lab.keys(layout.ARCHIVES)) == len(objects)
    curated = lab.latest()
    assert Counter(row["event_id"] for row in curated) == Counter(events)
    assert len({row["listen_date"] for row in curated}) == DATES
    assert presented(lab) == by_duckdb(curated)
    assert facts["daily_listens_served"] == {"written": DATES * len(GENRES)}
    assert len(lab.genre_items()) == DATES * len(GENRES)
    assert len(lab.chart_items()) == DATES
    files = lab.delta_files(lab.places.curated_bucket, lake_tables.PARTIALS.prefix)
    assert len(files) == DATES, "a file a date, not one a kind, part and date"
