"""KPIs kept up to date by partials: after every step of a history they equal plain Python over the curated listens."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from delta.tables import DeltaTable

from batch_jobs import kpi_transformation
from batch_jobs.objects import delete_all
from batch_jobs.recomputing import DriftError
from lakehouse import layout
from lakehouse.boundaries import Boundaries
from lakehouse.control import Progress
from lakehouse.delta_log import read_snapshot
from lakehouse.jobs import Report, Run
from lakehouse.leases import Lease
from lakehouse.settings import KpiSettings
from tests.integration.laboratory import Lab
from tests.integration.records import Row, listen, song, without

OLD, DAY, LATER = "2024-06-20", "2024-06-25", "2024-06-26"
FAR = 2**40 + 3
"""A user whose number has no neighbour."""
NO_DRIFT = {"kpi_partials": 0, "daily_listens": 0, "top_genres": 0}
PROVENANCE = ("curated_version", "run_id", "computed_at")
OF_THE_FEED = "_change_type"
"""Delta leaves this column, empty, in files that an UPDATE or MERGE wrote."""


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
    genres = without(lab.delta_rows(bucket, layout.DAILY_LISTENS), *PROVENANCE, OF_THE_FEED)
    charts = without(lab.delta_rows(bucket, layout.TOP_GENRES), *PROVENANCE, OF_THE_FEED)
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


def partial_files(lab: Lab, day: str) -> set[str]:
    files = lab.delta_files(lab.places.curated_bucket, layout.PARTIALS)
    return {path for path, partition in files.items() if partition["listen_date"] == day}


def versions(lab: Lab) -> tuple[int, ...]:
    return (*lab.presentation_versions(), lab.delta_version(lab.places.curated_bucket, layout.PARTIALS))


def test_a_history_of_inserts_late_data_crashes_and_retractions(lab: Lab, spark: Any) -> None:
    put_catalog(lab)
    first = [listen(user, "a", f"{DAY}T10:00:00", sequence=user) for user in (1, 63, 64, 511, FAR)]
    lab.put_batch(0, *first, listen(1, "e", f"{LATER}T10:00:00"), listen(1, "mute", f"{LATER}T10:00:01"))
    lab.transform()
    lab.kpis()
    check(lab)

    # Known users and new ones, a tie at rank 3, listens delivered before, and a late one for a date never seen.
    files = partial_files(lab, LATER)
    again = [listen(user, track, f"{DAY}T11:00:00", sequence=9) for track in "dcb" for user in (63, 64, 512)]
    lab.put_batch(1, *first, *again, listen(FAR, "b", f"{OLD}T10:00:00", sequence=9))
    lab.transform()
    assert lab.kpis()["daily_listens_served"] == {"written": 2}, "the date that got nothing is not written"
    assert partial_files(lab, LATER) == files
    check(lab)

    # A run that dies with its partials committed; by the next one more has come, for that date and for another.
    lab.put_batch(2, listen(512, "a", f"{DAY}T12:00:00", sequence=10))
    lab.transform()
    assert lab.kpis(kill_at="partials_committed")["crashed"]
    lab.put_batch(3, listen(1, "a", f"{DAY}T12:00:00", sequence=11), listen(64, "e", f"{LATER}T12:00:00", sequence=11))
    lab.transform()
    lab.kpis()
    check(lab)

    # A listen deleted beside one added, a date deleted as a whole, and a genre changed.
    latest = DeltaTable.forPath(spark, layout.uri(lab.places.curated_bucket, layout.LATEST))
    latest.delete(f"listen_date = DATE'{DAY}' AND track_id = 'a' AND user_id IN (1, {FAR})")
    latest.delete(f"listen_date = DATE'{OLD}'")
    latest.update(f"listen_date = DATE'{LATER}' AND user_id = 64", {"track_genre": "'jazz'", "track_name": "'A'"})
    lab.put_batch(4, listen(FAR, "e", f"{DAY}T13:00:00", sequence=12))
    lab.transform()
    lab.kpis()
    check(lab)

    # A commit that changes no row still counts as consumed.
    latest.optimize().executeCompaction()
    lab.kpis()
    lab.kpis(mode="maintain")
    snapshot = read_snapshot(lab.s3, lab.places.curated_bucket, layout.PARTIALS)
    assert snapshot is not None
    assert snapshot.checkpoint == snapshot.version
    assert snapshot.transactions == {"transformed_data_latest": lab.latest_version()}

    found = versions(lab)
    facts = lab.kpis(mode="recompute")
    assert (facts["dates"], facts["drift"]) == (2, NO_DRIFT)
    assert versions(lab) == found, "the same bits are not written again"


def test_a_recompute_finishes_what_a_crash_left_reports_drift_and_repairs_it(lab: Lab, spark: Any) -> None:
    put_catalog(lab)
    lab.put_batch(0, *[listen(user, "a", f"{DAY}T10:00:00", sequence=user) for user in (1, 63)])
    lab.transform()
    lab.kpis()
    lab.put_batch(1, *[listen(user, "e", f"{LATER}T10:00:00", sequence=user) for user in (1, 63)])
    lab.transform()
    assert lab.kpis(kill_at="daily_listens_committed")["crashed"]
    assert lab.kpis(mode="recompute")["drift"] == NO_DRIFT, "what a crashed run has published is no drift"
    check(lab)
    assert len(lab.consumed()) == 4

    daily = DeltaTable.forPath(spark, layout.uri(lab.places.presentation_bucket, layout.DAILY_LISTENS))
    daily.update(f"listen_date = DATE'{DAY}'", {"unique_listeners": "7"})
    partials = DeltaTable.forPath(spark, layout.uri(lab.places.curated_bucket, layout.PARTIALS))
    partials.delete(f"listen_date = DATE'{LATER}' AND kind = 'listeners'")
    found = versions(lab)
    with pytest.raises(DriftError, match="1 other rows in kpi_partials, 1 other rows in daily_listens"):
        lab.kpis(mode="recompute")
    assert lab.kpis(mode="recompute", repair="true")["drift"] == {
        "kpi_partials": 1,
        "daily_listens": 1,
        "top_genres": 0,
    }
    assert versions(lab) != found
    check(lab)
    assert lab.kpis(mode="recompute")["drift"] == NO_DRIFT

    # Partials that are lost are made anew from the listens.
    bucket = lab.places.curated_bucket
    delete_all(lab.s3, bucket, lab.keys(layout.PARTIALS, bucket=bucket))
    lab.put_batch(2, listen(64, "a", f"{DAY}T11:00:00", sequence=3))
    lab.transform()
    lab.kpis()
    check(lab)
    assert lab.kpis(mode="recompute")["drift"] == NO_DRIFT


class Unchecked(Lease):
    """A lease whose holder has stalled right after checking it."""

    def check(self) -> None:
        """Find nothing wrong."""


@pytest.mark.parametrize(
    ("boundary", "kill_at"),
    [("partials_committed", "-"), ("partials_committed", "partials_committed"), ("kpis_derived", "-")],
)
def test_a_stale_run_that_finishes_last_does_not_win(lab: Lab, boundary: str, kill_at: str) -> None:
    put_catalog(lab)
    lab.put_batch(2, listen(1, "b", f"{DAY}T09:00:00"))
    lab.transform()
    lab.kpis()
    lab.put_batch(0, listen(1, "a", f"{DAY}T10:00:00"))
    lab.transform()

    def overtake() -> None:
        lab.put_batch(1, listen(63, "a", f"{DAY}T11:00:00", sequence=2), listen(64, "e", f"{DAY}T11:00:00", sequence=3))
        lab.transform()
        lab.kpis(kill_at=kill_at)

    control = lab.places.control_table
    stale = Run(
        id="stale",
        settings=lab.settings(KpiSettings),
        spark=lab.spark,
        s3=lab.s3,
        dynamodb=lab.dynamodb,
        lease=Unchecked(lab.dynamodb, table=control, job=layout.KPI_JOB, run_id="stale"),
        progress=Progress(lab.dynamodb, control),
        boundaries=Boundaries(boundary, kill=overtake),
        report=Report(),
        now=lambda: lab.now,
    )
    kpi_transformation.run(stale)
    if kill_at != "-":
        # The run that overtook has died as well: another one finishes for both.
        lab.kpis()
    check(lab)
    assert [row["event_id"] for row in lab.consumed()] == [row["event_id"] for row in lab.latest()]
    found = versions(lab)
    assert lab.kpis(mode="recompute")["drift"] == NO_DRIFT
    assert versions(lab) == found
