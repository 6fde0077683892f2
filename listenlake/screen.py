"""What people see: tables and progress on a terminal. Everything here goes to the console it is given."""

from __future__ import annotations

import time

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lakehouse.settings import Places
from listenlake.demo import DemoResult
from listenlake.served import ServedKpis


class Progress:
    """Prints one line for each step, with the seconds since the start."""

    def __init__(self, console: Console) -> None:
        """Start the clock."""
        self._console = console
        self._started = time.monotonic()

    def __call__(self, line: str) -> None:
        """Print a step."""
        self._console.print(
            f"[dim]{time.monotonic() - self._started:6.1f} s[/dim]  {escape(line)}", highlight=False, soft_wrap=True
        )


def show_demo(console: Console, result: DemoResult, *, state: str, places: Places, kept: bool) -> None:
    """Print the demo's report; the caller prints its last line."""
    stages = Table("stage", "runs or batches", "rows in", "rows out", "seconds", title="Stages")
    for stage in result.stages:
        stages.add_row(*[f"{value:,}" if isinstance(value, int) else str(value) for value in stage.values()])
    console.print(stages)
    freshness = Table("from the event being sent to", "p50 s", "p95 s", "max s", title="Freshness")
    for name, told in (("processed_seconds", "processed-streams/"), ("served_seconds", "DynamoDB")):
        values = result.freshness[name]
        freshness.add_row(told, *[str(values.get(key, "-")) for key in ("p50", "p95", "max")])
    console.print(freshness)
    rejects = Table("reason", "expected", "found", title="Rejects in bad-records/")
    for reason, rows in sorted(result.manifest.truth.counts.rejected.items()):
        rejects.add_row(reason, f"{rows:,}", f"{result.comparison.found_by_reason.get(reason, 0):,}")
    console.print(rejects)
    if result.served.charts:
        # The last sessions run past midnight, so the last date has a handful of listens.
        fullest = max(result.served.charts, key=lambda chart: sum(row["listen_count"] for row in chart["top_genres"]))
        show_day(console, result.served, str(fullest["listen_date"]))
    _show_places(console, state=state, places=places, kept=kept)


def _show_places(console: Console, *, state: str, places: Places, kept: bool) -> None:
    buckets = ", ".join(
        f"s3://{name}" for name in (places.raw_bucket, places.curated_bucket, places.presentation_bucket)
    )
    for name, told in (
        ("files", f"{state}: runs/ has a log for each job run, demo/truth/ what had to come out"),
        ("data", buckets if kept else f"{buckets} (gone with the local cloud; --keep keeps them)"),
        (
            "next",
            "listenlake kpis show --date DATE · listenlake status · listenlake down"
            if kept
            else 'make demo ARGS="--keep", then .venv/bin/listenlake kpis show · make demo ARGS="--data DIR"',
        ),
    ):
        console.print(f"{name:6} {told}", markup=False, highlight=False, soft_wrap=True)


def show_day(console: Console, served: ServedKpis, day: str) -> None:
    """Print one day's top genres and the top songs of each."""
    genres = {item["track_genre"]: item for item in served.genres if item["listen_date"] == day}
    table = Table("rank", "genre", "listens", "listeners", "ms per listener", "top songs", title=f"Top genres of {day}")
    for chart in (item for item in served.charts if item["listen_date"] == day):
        for entry in chart["top_genres"]:
            genre = genres[entry["track_genre"]]
            songs = ", ".join(f"{song['track_name']} ({song['plays']})" for song in genre["top_songs"])
            table.add_row(
                str(entry["rank"]),
                escape(entry["track_genre"]),
                f"{entry['listen_count']:,}",
                f"{genre['unique_listeners']:,}",
                f"{genre['avg_listening_time_per_user_ms']:,}",
                escape(songs),
            )
    console.print(table)


def show_kpis(console: Console, served: ServedKpis) -> None:
    """Print genre KPIs and charts."""
    table = Table("date", "genre", "listens", "listeners", "total ms", "ms per listener", "top song", title="Genres")
    for item in served.genres:
        first = item["top_songs"][0]
        table.add_row(
            item["listen_date"],
            escape(item["track_genre"]),
            f"{item['listen_count']:,}",
            f"{item['unique_listeners']:,}",
            f"{item['total_listening_time_ms']:,}",
            f"{item['avg_listening_time_per_user_ms']:,}",
            escape(f"{first['track_name']} ({first['plays']})"),
        )
    console.print(table)
    for chart in served.charts:
        show_day(console, served, chart["listen_date"])
