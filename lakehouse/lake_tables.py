"""Which Delta tables there are, where they lie, who writes them and who follows their changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lakehouse import layout, tables
from lakehouse.control import CONSUMED, dimension_name, served_name

if TYPE_CHECKING:
    from lakehouse.settings import Places
    from lakehouse.tables import Table

DATE: Final = "listen_date"


@dataclass(frozen=True, kw_only=True)
class LakeTable:
    """One Delta table of the lake.

    Attributes:
        contract: Its columns, key and partitions.
        prefix: Its folder.
        writer: The one job that writes it.
        reader: Progress record of whoever follows its changes; empty where nobody does.
        presented: Whether it lies in the presentation bucket, and not in the curated one.
        in_catalog: Whether others find it by name in the Glue Data Catalog.
    """

    contract: Table
    prefix: str
    writer: str
    reader: str = ""
    presented: bool = False
    in_catalog: bool = False

    @property
    def name(self) -> str:
        """Its name in reports and in the catalog."""
        return self.contract.name

    @property
    def by_date(self) -> bool:
        """Whether it is partitioned by listen date."""
        return DATE in self.contract.partition_by

    def bucket(self, places: Places) -> str:
        """Return the name of its bucket."""
        return places.presentation_bucket if self.presented else places.curated_bucket

    def uri(self, places: Places) -> str:
        """Return where Spark finds it."""
        return layout.uri(self.bucket(places), self.prefix)


LATEST: Final = LakeTable(
    contract=tables.CURATED_LISTENS,
    prefix=layout.LATEST,
    writer=layout.TRANSFORM_JOB,
    reader=CONSUMED,
    in_catalog=True,
)
USERS: Final = LakeTable(
    contract=tables.KNOWN_USERS,
    prefix=layout.KNOWN_USERS,
    writer=layout.TRANSFORM_JOB,
    reader=dimension_name(tables.KNOWN_USERS.name),
)
SONGS: Final = LakeTable(
    contract=tables.KNOWN_SONGS,
    prefix=layout.KNOWN_SONGS,
    writer=layout.TRANSFORM_JOB,
    reader=dimension_name(tables.KNOWN_SONGS.name),
)
ARCHIVE: Final = LakeTable(
    contract=tables.ARCHIVED_LISTENS, prefix=layout.ARCHIVE, writer=layout.KPI_JOB, in_catalog=True
)
PARTIALS: Final = LakeTable(contract=tables.KPI_PARTIALS, prefix=layout.PARTIALS, writer=layout.KPI_JOB)
DAILY_LISTENS: Final = LakeTable(
    contract=tables.DAILY_GENRE_KPIS,
    prefix=layout.DAILY_LISTENS,
    writer=layout.KPI_JOB,
    reader=served_name(tables.DAILY_GENRE_KPIS.name),
    presented=True,
    in_catalog=True,
)
TOP_GENRES: Final = LakeTable(
    contract=tables.DAILY_TOP_GENRES,
    prefix=layout.TOP_GENRES,
    writer=layout.KPI_JOB,
    reader=served_name(tables.DAILY_TOP_GENRES.name),
    presented=True,
    in_catalog=True,
)

LAKE_TABLES: Final = (LATEST, USERS, SONGS, ARCHIVE, PARTIALS, DAILY_LISTENS, TOP_GENRES)
