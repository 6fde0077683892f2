"""KPIs kept up to date by partials: after every step of a history they equal plain Python over the curated listens."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from fractions import Fraction
from typing import Any

from batch_jobs import kpi_transformation
from lakehouse import layout
from lakehouse.boundaries import Boundaries
from lakehouse.control import Progress
from lakehouse.jobs import Report, Run
from lakehouse.leases import Lease
from lakehouse.settings import KpiSettings
from tests.integration.spark_fixtures import Lab, Row, listen, song, without

DAY = "2024-06-25"
FAR = 2**40 + 3
"""A user whose number has no neighbour."""
NO_DRIFT = {"kpi_partials": 0, "daily_listens": 0, "top_genres": 0}
PROVENANCE = ("curated_version", "run_id", "computed_at")


def put_catalog(lab: Lab) -> None:
    # Numbers on both sides of a word's and of a block's border.
    lab.put_users(1, 63, 64, 511, 512, FAR)
    genres = {"a": "rock", "b": "rock", "c": "rock", "d": "rock", "e": "pop"}
    lab.put_songs(
        *[song(i, track, genre=genre, duration_ms=1000 + 7 * i) for i, (track, genre) in enumerate(genres.items())],
        song(9, "mute", genre="rock", duration_ms=0),
    )


def by_hand(listens: list[Row]) -> tuple[list[Row], list[Row]]:
    """The rows of both presentation tables without provenance, in order."""
    groups: dict[Any, list[Row]] = defaultdict(list)
    for row in listens:
        if row["duration_ms"]:
            groups[row["listen_date"], row["track_genre"]].append(row)
    genres, days = [], defaultdict(list)
    for (day, genre), rows in sorted(groups.items()):
        total, users = sum(row["duration_ms"] for row in rows), len({row["user_id"] for row in rows})
        plays: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            plays[row["track_id"]].append(row)
        chart = sorted(plays.items(), key=lambda one: (-len(one[1]), one[0]))[:3]
        genres.append(
            {
                "listen_date": day,
                "track_genre": genre,
                "listen_count": len(rows),
                "unique_listeners": users,
                "total_listening_time_ms": total,
                # Python rounds a fraction half to even.
                "avg_listening_time_per_user_ms": Decimal(round(Fraction(100 * total, users))).scaleb(-2),
                "top_songs": [
                    {
                        "rank": rank,
                        "track_id": track,
                        "track_name": min(row["track_name"] for row in played),
                        "artists": min(row["artists"] for row in played),
                        "plays": len(played),
                    }
                    for rank, (track, played) in enumerate(chart, 1)
                ],
            }
        )
        days[day].append((-len(rows), genre))
    charts = [
        {
            "listen_date": day,
            "top_genres": [
                {"rank": rank, "track_genre": genre, "listen_count": -count}
                for rank, (count, genre) in enumerate(sorted(counted)[:5], 1)
            ],
        }
        for day, counted in sorted(days.items())
    ]
    return genres, charts


def presented(lab: Lab) -> tuple[list[Row], list[Row]]:
    bucket = lab.places.presentation_bucket
    genres = without(lab.delta_rows(bucket, layout.DAILY_LISTENS), *PROVENANCE)
    charts = without(lab.delta_rows(bucket, layout.TOP_GENRES), *PROVENANCE)
    return (
        sorted(genres, key=lambda row: (row["listen_date"], row["track_genre"])),
        sorted(charts, key=lambda row: row["listen_date"]),
    )


def check(lab: Lab) -> None:
    """What is published equals the truth, and what is served equals what is published."""
    wanted = by_hand(lab.latest())
    assert presented(lab) == wanted
    live = [item for item in lab.genre_items().values() if not item.get("deleted")]
    served = {(item["listen_date"], item["track_genre"]): item["listen_count"] for item in live}
    assert served == {(str(row["listen_date"]), row["track_genre"]): row["listen_count"] for row in wanted[0]}


def versions(lab: Lab) -> tuple[int, ...]:
    return (*lab.presentation_versions(), lab.delta_version(lab.places.curated_bucket, layout.PARTIALS))


class Unchecked(Lease):
    """A lease whose holder has stalled right after checking it."""

    def check(self) -> None:
        """Find nothing wrong."""


def test_a_stale_run_that_finishes_last_does_not_win(lab: Lab) -> None:
    put_catalog(lab)
    lab.put_batch(0, listen(1, "a", f"{DAY}T10:00:00"))
    lab.transform()

    def overtake() -> None:
        lab.put_batch(1, listen(63, "a", f"{DAY}T11:00:00", sequence=2), listen(64, "e", f"{DAY}T11:00:00", sequence=3))
        lab.transform()
        lab.kpis()

    control = lab.places.control_table
    stale = Run(
        id="stale",
        settings=lab.settings(KpiSettings),
        spark=lab.spark,
        s3=lab.s3,
        dynamodb=lab.dynamodb,
        lease=Unchecked(lab.dynamodb, table=control, job=layout.KPI_JOB, run_id="stale"),
        progress=Progress(lab.dynamodb, control),
        boundaries=Boundaries("kpis_derived", kill=overtake),
        report=Report(),
        now=lambda: lab.now,
    )
    kpi_transformation.run(stale)
    check(lab)
    assert [row["event_id"] for row in lab.consumed()] == [row["event_id"] for row in lab.latest()]
    found = versions(lab)
    assert lab.kpis(mode="recompute")["drift"] == NO_DRIFT
    assert versions(lab) == found
