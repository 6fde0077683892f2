"""What the guarded, counted writes of serving cost, against bare ones of the same items by as many threads.

Items of the size of a genre's KPIs go to the local DynamoDB, which shares the two cores with their writer; each round
writes keys of its own, by the writer first and bare after it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

from boto3.dynamodb.types import TypeSerializer

from batch_jobs.item_writer import WRITERS, ItemWriter
from batch_jobs.items import Item
from benchmarks.sessions import told
from lakehouse.tables import DAILY_GENRE_KPIS
from local_cloud import lifecycle
from local_cloud.options import CloudOptions

ROUNDS: Final = 3
ITEMS: Final = 2_000


def measure_serving_items() -> dict[str, float]:
    """Return the items a second of either, medians of `ROUNDS` rounds, and their ratio."""
    with tempfile.TemporaryDirectory() as folder, lifecycle.up(Path(folder) / "cloud", options=CloudOptions()) as cloud:
        client = cloud.client("dynamodb")
        table = cloud.places.daily_listens_table
        writer = ItemWriter(client, table, DAILY_GENRE_KPIS.key, {"listen_count": 0}, lambda: datetime.now(UTC))
        serialize = TypeSerializer().serialize

        def bare(items: Iterable[Item]) -> None:
            stored = [{name: serialize(value) for name, value in item.items()} for item in items]
            with ThreadPoolExecutor(WRITERS) as pool:
                list(pool.map(lambda item: client.put_item(TableName=table, Item=item), stored))

        written, raw = [], []
        for number in range(ROUNDS):
            written.append(_seconds("items written under the guard", partial(writer.apply, _items(2 * number))))
            raw.append(_seconds("items put bare", partial(bare, _items(2 * number + 1))))
    return {
        "items_per_s": round(ITEMS / median(written), 1),
        "bare_items_per_s": round(ITEMS / median(raw), 1),
        "items_over_bare": round(median(raw) / median(written), 3),
    }


def _seconds(what: str, work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return told(what, began)


def _items(number: int) -> list[Item]:
    songs = [
        {"rank": rank, "track_id": f"track-{rank}", "track_name": "a name", "artists": "an artist", "plays": 10}
        for rank in (1, 2, 3)
    ]
    values: Item = {
        "listen_count": 1_000,
        "unique_listeners": 700,
        "total_listening_time_ms": 200_000_000,
        "avg_listening_time_per_user_ms": Decimal("285714.29"),
        "top_songs": songs,
        "curated_version": 7,
        "run_id": "benchmark",
        "computed_at": "2024-06-25T12:00:00.000000Z",
        "source_version": 7,
        "deleted": False,
    }
    day = f"2024-06-{number + 1:02}"
    return [{**values, "listen_date": day, "track_genre": f"genre {genre}"} for genre in range(ITEMS)]
