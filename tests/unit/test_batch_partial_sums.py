"""Partials of a date added up: whatever the parts, the same table as from all listens at once, and exact KPIs of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import date
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_jobs.kpis import daily_genre_kpis, half_even_quotient
from batch_jobs.partial_sums import count_differences, united, valid_listens, with_listens
from lakehouse.tables import KPI_PARTIALS, LISTENER_WORDS

DAY = date(2024, 6, 25)
_ARROW = {"DATE": pa.date32(), "STRING": pa.string(), "BIGINT": pa.int64()}
SCHEMA = pa.schema([(line.split()[0], _ARROW[line.split()[1]]) for line in KPI_PARTIALS.ddl.split(",\n")])

Listen = tuple[str, str, str | None, int, int]
"""Genre, track, artists, milliseconds, user."""

listens = st.lists(
    st.tuples(
        st.sampled_from(["pop", "rock", "夜"]),
        st.sampled_from(["a", "b", "c", "d"]),
        st.sampled_from(["Z", "Ä", None]),
        st.integers(1, 2**40),
        # Both sides of a word's and of a block's border, the sign bit, and a user far from all others.
        st.sampled_from([0, 1, 63, 64, 511, 512, 2**40 + 63]),
    ),
    max_size=30,
)


def parts(*some: Listen) -> pa.Table:
    """Each listen as it is before anything is added up."""
    rows: list[dict[str, Any]] = []
    for genre, track, artists, duration, user in some:
        named = {"listen_date": DAY, "track_genre": genre}
        song = {"track_id": track, "track_name": f"name of {track}", "artists": artists}
        rows.append(named | song | {"kind": "plays", "plays": 1, "listening_time_ms": duration})
        bit = 1 << user % 64
        words = dict.fromkeys(LISTENER_WORDS, 0) | {
            f"users_{user // 64 % 8}": bit - 2**64 if bit == 1 << 63 else bit,
        }
        rows.append(named | {"kind": "listeners", "user_block": user // 512} | words)
    return with_listens(pa.Table.from_pylist(rows, schema=SCHEMA), DAY, len(some))


def by_hand(some: list[Listen]) -> list[dict[str, Any]]:
    """The KPIs from the listens."""
    genres = defaultdict(list)
    for one in some:
        genres[one[0]].append(one)
    rows = []
    for genre, of_genre in sorted(genres.items(), key=lambda item: item[0].encode()):
        total, users = sum(one[3] for one in of_genre), len({one[4] for one in of_genre})
        counts = Counter(one[1] for one in of_genre)
        chart = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:3]
        artists: dict[str, list[str | None]] = {
            track: [one[2] for one in of_genre if one[1] == track and one[2]] or [None] for track in counts
        }
        rows.append(
            {
                "listen_date": DAY,
                "track_genre": genre,
                "listen_count": len(of_genre),
                "unique_listeners": users,
                "total_listening_time_ms": total,
                "avg_listening_time_per_user_ms": Decimal(round(Fraction(100 * total, users))).scaleb(-2),
                "top_songs": [
                    {
                        "rank": rank,
                        "track_id": track,
                        "track_name": f"name of {track}",
                        "artists": min(artists[track], key=lambda text: (text or "").encode()),
                        "plays": plays,
                    }
                    for rank, (track, plays) in enumerate(chart, 1)
                ],
            }
        )
    return rows


@given(listens, st.lists(st.integers(0, 30), max_size=3))
def test_any_split_gives_the_same_partials_and_the_kpis_of_the_listens(some: list[Listen], cuts: list[int]) -> None:
    whole = united(parts(*some))
    assert whole.schema == SCHEMA
    borders = sorted({0, len(some), *(cut for cut in cuts if cut < len(some))})
    kept = SCHEMA.empty_table()
    for start, end in pairwise(borders):
        kept = united(pa.concat_tables([kept, parts(*reversed(some[start:end]))]))
    assert kept.equals(whole)
    assert valid_listens(whole) == len(some)
    assert daily_genre_kpis(whole) == by_hand(some)


def test_a_genre_without_listeners_has_no_kpis() -> None:
    whole = united(parts(("pop", "a", "A", 5, 1), ("rock", "b", "B", 5, 1)))
    damaged = whole.filter(
        pa.compute.or_kleene(pa.compute.field("kind") != "listeners", pa.compute.field("track_genre") == "pop")
    )
    assert [row["track_genre"] for row in daily_genre_kpis(damaged)] == ["pop"], "so that the balance does not add up"


def test_rows_that_only_one_side_has_are_counted() -> None:
    one = united(parts(("pop", "a", "A", 5, 1)))
    other = united(parts(("pop", "a", "A", 5, 1), ("pop", "b", "A", 5, 2)))
    assert count_differences(one, one) == 0
    assert count_differences(one, one.take([2, 1, 0])) == 0, "in whatever order"
    assert count_differences(one, other) == 2 + 1 + 2, "the day and the listeners differ, and a track is new"
    assert count_differences(one, pa.concat_tables([one, one.slice(0, 1)])) == 1, "a row that is there twice"


def test_partials_that_differ_only_in_where_a_null_is_are_told_apart() -> None:
    named, sung = (pa.Table.from_pylist([{name: "x"}], schema=SCHEMA) for name in ("track_name", "artists"))
    assert count_differences(named, sung) == 2
    assert count_differences(named, named) == 0


@given(st.integers(1, 2**62), st.integers(1, 2**32))
def test_a_quotient_is_rounded_half_even(total: int, divisor: int) -> None:
    assert half_even_quotient(total, divisor) == Decimal(round(Fraction(100 * total, divisor))).scaleb(-2)


@pytest.mark.parametrize(("total", "found"), [(1, "0.12"), (3, "0.38"), (5, "0.62"), (8, "1.00")])
def test_a_tie_goes_to_the_even_hundredth(total: int, found: str) -> None:
    assert half_even_quotient(total, 8) == Decimal(found)
