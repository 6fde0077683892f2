"""Two days and a catalog of three songs, in which a listen's genre and duration are known by heart."""

from __future__ import annotations

from tests.integration.laboratory import Lab
from tests.integration.records import song

DAY = "2024-06-25"
LATER = "2024-06-26"


def put_catalog(lab: Lab) -> None:
    lab.put_users(1, 2, 3)
    lab.put_songs(
        song(1, "a", genre="rock", duration_ms=1000),
        song(2, "b", genre="rock", duration_ms=2000),
        song(3, "c", genre="pop", duration_ms=3000),
    )


def run_both(lab: Lab) -> None:
    lab.transform()
    lab.kpis()
