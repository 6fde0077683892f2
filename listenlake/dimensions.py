"""Put users.csv and songs.csv where the jobs read them."""

from __future__ import annotations

from pathlib import Path

from lakehouse import layout
from listenlake.pipeline import Pipeline
from producers.catalog import prepare_catalog
from producers.run import CatalogSettings


def put_dimensions(pipeline: Pipeline, folder: Path, *, seed: int | None) -> None:
    """Upload the dimension files under `folder`; with a seed, make them first where there are none."""
    if seed is not None:
        sizes = CatalogSettings()
        prepare_catalog(folder, seed, users=sizes.users, songs=sizes.songs, genres=sizes.genres)
    for key in (layout.USERS_KEY, layout.SONGS_KEY):
        pipeline.upload(key, (folder / key).read_bytes())
