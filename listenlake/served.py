"""What DynamoDB serves, read back as plain values; tombstones are absent rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from boto3.dynamodb.types import TypeDeserializer

from lakehouse.settings import Places

BY_DATE: Final = "by_listen_date"
GENRE_KPIS: Final = (
    "listen_date",
    "track_genre",
    "listen_count",
    "unique_listeners",
    "total_listening_time_ms",
    "avg_listening_time_per_user_ms",
)

Item = dict[str, Any]


@dataclass(frozen=True)
class ServedKpis:
    """The two serving tables.

    Attributes:
        genres: One item per (listen_date, track_genre), with `top_songs`, in that order.
        charts: One item per listen_date, with `top_genres`, in that order.
    """

    genres: list[Item]
    charts: list[Item]

    def to_json(self) -> dict[str, list[Item]]:
        """Return the flat form that `listenlake kpis show --json` prints."""
        songs = [
            {"listen_date": item["listen_date"], "track_genre": item["track_genre"], **song}
            for item in self.genres
            for song in item["top_songs"]
        ]
        ranks = [{"listen_date": item["listen_date"], **genre} for item in self.charts for genre in item["top_genres"]]
        return {
            "genres": [{name: item[name] for name in GENRE_KPIS} for item in self.genres],
            "top_songs": songs,
            "top_genres": ranks,
        }


def read_served(dynamodb: Any, places: Places, *, date: str | None = None, genre: str | None = None) -> ServedKpis:
    """Read what is served, all of it or one date's or genre's part. A date is answered by the index."""
    if date is None:
        genres = _items(dynamodb, "scan", TableName=places.daily_listens_table)
    else:
        genres = _items(
            dynamodb,
            "query",
            TableName=places.daily_listens_table,
            IndexName=BY_DATE,
            KeyConditionExpression="listen_date = :d",
            ExpressionAttributeValues={":d": {"S": date}},
        )
    charts = _items(dynamodb, "scan", TableName=places.top_genres_table)
    return ServedKpis(
        genres=sorted(
            (item for item in genres if genre in (None, item["track_genre"])),
            key=lambda item: (item["listen_date"], item["track_genre"]),
        ),
        charts=sorted(
            (item for item in charts if date in (None, item["listen_date"])), key=lambda item: str(item["listen_date"])
        ),
    )


def _items(dynamodb: Any, operation: str, **request: Any) -> Iterator[Item]:
    deserializer = TypeDeserializer()
    for page in dynamodb.get_paginator(operation).paginate(**request):
        for stored in page["Items"]:
            item = {name: deserializer.deserialize(value) for name, value in stored.items()}
            if not item.get("deleted"):
                yield item
