"""The live view of a watch, as something that rich prints."""

from __future__ import annotations

from rich.table import Table

from listenlake.watch.pulse import Progress


def progress_table(progress: Progress) -> Table:
    """Return the state of every shard as a table."""
    table = Table(title=f"{progress.workers} workers, {progress.restarts} restarts")
    table.add_column("shard")
    table.add_column("read by")
    for name in ("events", "events/s", "p50 ms", "p95 ms", "behind ms"):
        table.add_column(name, justify="right")
    for shard in progress.shards:
        table.add_row(
            shard.shard_id,
            shard.worker_id if shard.reading else "nobody yet",
            *[_number(value) for value in (shard.events, shard.rate, shard.p50_ms, shard.p95_ms, shard.behind_ms)],
        )
    if len(progress.shards) > 1:
        table.add_section()
        table.add_row("all", "", _number(progress.events), _number(progress.rate), "", "", "")
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"
