"""Put users.csv and songs.csv where the jobs read them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from lakehouse import layout
from listenlake.pipeline import Pipeline
from producers.catalog import prepare_catalog
from producers.run import CatalogSettings


def put_dimensions(pipeline: Pipeline, folder: Path, *, sizes: CatalogSettings | None) -> None:
    """Upload the dimension files under `folder`; with sizes, make them first where there are none."""
    if sizes is not None:
        prepare_catalog(folder, **asdict(sizes))
    for key in (layout.USERS_KEY, layout.SONGS_KEY):
        pipeline.upload(key, (folder / key).read_bytes())
