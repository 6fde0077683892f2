"""Every table as a frozen record: its Spark DDL, its key and its partitions. Read by Spark and by everyone else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table's contract.

    Attributes:
        name: Its name in logs and in the catalog.
        ddl: Columns and types, as Spark DDL.
        key: Columns that identify one row.
        partition_by: Partition columns, outermost first.
        has_change_feed: Whether a later stage consumes its changes.
    """

    name: str
    ddl: str
    key: tuple[str, ...]
    partition_by: tuple[str, ...] = ()
    has_change_feed: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(line.split()[0] for line in self.ddl.strip().split(",\n"))


PROCESSED_LISTENS: Final = Table(
    name="processed_listens",
    key=("event_id", "listen_time"),
    ddl="""event_id STRING,
user_id BIGINT,
track_id STRING,
listen_time TIMESTAMP,
schema_version BIGINT,
played_ms BIGINT,
platform STRING,
session_id STRING,
extra MAP<STRING, STRING>,
stream STRING,
shard_id STRING,
sequence_number STRING,
line INT,
arrived_at TIMESTAMP""",
)
"""What the streaming job writes: one row per accepted delivery, duplicates included.

A record may hold several events as JSON Lines: `line` is an event's place in its record, from 1; a record that is one
event has line 1, and so has every row that was written before records could hold more.
"""

CURATED_LISTENS: Final = Table(
    name="transformed_data_latest",
    has_change_feed=True,
    key=("event_id", "listen_time"),
    partition_by=("listen_date",),
    ddl="""listen_date DATE,
event_id STRING,
user_id BIGINT,
track_id STRING,
listen_time TIMESTAMP,
played_ms BIGINT,
platform STRING,
session_id STRING,
extra MAP<STRING, STRING>,
user_age INT,
user_country STRING,
track_name STRING,
artists STRING,
album_name STRING,
track_genre STRING,
popularity INT,
duration_ms BIGINT,
explicit BOOLEAN,
arrived_at TIMESTAMP""",
)
"""One row per accepted listen, joined with its user and song. Names of users stay in the users dimension."""

ARCHIVED_LISTENS: Final = Table(
    name="transformed_data_archive",
    key=("event_id", "listen_time"),
    partition_by=("consumed_version",),
    ddl=CURATED_LISTENS.ddl + ",\nconsumed_version BIGINT",
)
"""What each KPI run consumed; `consumed_version` is the curated version that the run went up to."""

KPI_PARTIALS: Final = Table(
    name="kpi_partials",
    key=("listen_date", "kind", "track_genre", "track_id", "user_block"),
    partition_by=("listen_date",),
    ddl="""listen_date DATE,
kind STRING,
track_genre STRING,
track_id STRING,
track_name STRING,
artists STRING,
plays BIGINT,
listening_time_ms BIGINT,
user_block BIGINT,
users_0 BIGINT,
users_1 BIGINT,
users_2 BIGINT,
users_3 BIGINT,
users_4 BIGINT,
users_5 BIGINT,
users_6 BIGINT,
users_7 BIGINT""",
)
"""What the KPIs are made of, so that new listens can be added to it: rows of three kinds, each a date's.

| kind | one row is | columns |
| --- | --- | --- |
| `day` | a date | `plays`, its valid listens |
| `plays` | a genre and track | `plays`, `listening_time_ms`, smallest `track_name` and `artists` |
| `listeners` | a genre and block of 512 users | `users_0` to `users_7`, a bit for each user of the block who listened |

User u is bit u mod 64 of word (u div 64) mod 8 of block u div 512.
"""

LISTENER_WORDS: Final = tuple(name for name in KPI_PARTIALS.columns if name.startswith("users_"))

DAILY_GENRE_KPIS: Final = Table(
    name="daily_listens",
    has_change_feed=True,
    key=("listen_date", "track_genre"),
    partition_by=("listen_date",),
    ddl="""listen_date DATE,
track_genre STRING,
listen_count BIGINT,
unique_listeners BIGINT,
total_listening_time_ms BIGINT,
avg_listening_time_per_user_ms DECIMAL(20,2),
top_songs ARRAY<STRUCT<rank: INT, track_id: STRING, track_name: STRING, artists: STRING, plays: BIGINT>>,
curated_version BIGINT,
run_id STRING,
computed_at TIMESTAMP""",
)
"""One row per (listen_date, track_genre)."""

DAILY_TOP_GENRES: Final = Table(
    name="top_genres",
    has_change_feed=True,
    key=("listen_date",),
    ddl="""listen_date DATE,
top_genres ARRAY<STRUCT<rank: INT, track_genre: STRING, listen_count: BIGINT>>,
curated_version BIGINT,
run_id STRING,
computed_at TIMESTAMP""",
)
"""One row per listen_date."""

PROVENANCE_COLUMNS: Final = ("curated_version", "run_id", "computed_at")
"""Columns of a presentation row that say where it comes from; two rows that differ only here are the same KPI."""

USERS_REQUIRED: Final = ("user_id", "user_name")
USERS: Final = Table(
    name="users",
    key=("user_id",),
    ddl="""user_id BIGINT,
user_name STRING,
user_age INT,
user_country STRING,
created_at STRING""",
)

SONGS_REQUIRED: Final = ("track_id", "track_name", "popularity", "duration_ms", "track_genre")
SONGS: Final = Table(
    name="songs",
    key=("track_id",),
    ddl="""id BIGINT,
track_id STRING,
artists STRING,
album_name STRING,
track_name STRING,
popularity INT,
duration_ms BIGINT,
explicit BOOLEAN,
danceability DOUBLE,
energy DOUBLE,
key INT,
loudness DOUBLE,
mode INT,
speechiness DOUBLE,
acousticness DOUBLE,
instrumentalness DOUBLE,
liveness DOUBLE,
valence DOUBLE,
tempo DOUBLE,
time_signature INT,
track_genre STRING""",
)

KNOWN_USERS: Final = Table(
    name="known_users",
    key=("user_id",),
    ddl="""user_id BIGINT,
user_age INT,
user_country STRING""",
)
"""One row per user of users.csv, with what a curated listen takes of it. Names stay in the file."""

KNOWN_SONGS: Final = Table(
    name="known_songs",
    key=("track_id",),
    ddl="""track_id STRING,
track_name STRING,
artists STRING,
album_name STRING,
track_genre STRING,
popularity INT,
duration_ms BIGINT,
explicit BOOLEAN""",
)
"""One row per track of songs.csv, with what a curated listen takes of it."""

REJECTED_RECORDS: Final = Table(
    name="bad_records",
    key=("stream", "shard_id", "sequence_number", "line"),
    ddl="""reason STRING,
message STRING,
fingerprint STRING,
payload STRING,
payload_base64 STRING,
event_id STRING,
stream STRING,
shard_id STRING,
sequence_number STRING,
line INT,
arrived_at TIMESTAMP,
source_batch STRING""",
)
"""One row per rejected event. `payload` holds the event in full; bytes that are no UTF-8 are in `payload_base64`.

`fingerprint` is the same for all records of one cause; records of earlier releases have none.
"""

VALIDATION_RULES: Final = (
    "user_id_null",
    "track_name_null",
    "track_genre_null",
    "listen_time_null",
    "listen_date_null",
    "duration_ms_not_positive",
)
"""Rules of `kpi_transformation`; a column each in validation_metrics.csv. A row may break several."""

VALIDATION_METRICS_HEADER: Final = (
    "timestamp",
    "total_rows",
    "valid_rows",
    "dropped_rows",
    *VALIDATION_RULES,
    "run_id",
    "table_version",
    "mode",
)
