"""The synthetic users and songs: same seed, same files.

Out go `users/users.csv` and `songs/songs.csv` by RFC 4180. Titles are awkward on purpose, some tracks stand under
several ids (the lowest one counts), and a few songs break a validation rule, so that every later stage has its cases.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from lakehouse import layout
from lakehouse.tables import SONGS, USERS
from producers.errors import ProducerError
from producers.shape import USUAL_DURATION_MS
from producers.vocabulary import ADJECTIVES, AWKWARD_TITLES, COUNTRIES, FAMILY_NAMES, GENRES, GIVEN_NAMES, NOUNS

if TYPE_CHECKING:
    from pathlib import Path

Row = tuple[str, ...]

REPEATED_SHARE: Final = 0.12
"""Share of song rows that repeat a track under another id and genre."""
INVALID_SHARE: Final = 0.003
AWKWARD_SHARE: Final = 0.15
BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
TRACK_ID_LENGTH: Final = 22
FIRST_USER_ID: Final = 1_000
TRACK_ID: Final = SONGS.columns.index("track_id")
DURATION_MS: Final = SONGS.columns.index("duration_ms")
INVALID_CELLS: Final = (
    ("track_genre", ""),
    ("track_name", ""),
    ("duration_ms", ""),
    ("duration_ms", "0"),
    ("track_genre", "   "),
)
"""Column and text of the songs that validation drops; blank text counts as null."""


@dataclass(frozen=True)
class Catalog:
    """Users and songs as rows of text, in the order of the files."""

    users: tuple[Row, ...]
    songs: tuple[Row, ...]

    @property
    def user_ids(self) -> list[int]:
        """Every user, once."""
        return list(dict.fromkeys(int(row[0]) for row in self.users))

    @property
    def track_ids(self) -> list[str]:
        """Every track, once."""
        return list(dict.fromkeys(row[TRACK_ID] for row in self.songs))

    @property
    def durations_ms(self) -> list[int]:
        """How long each track of `track_ids` lasts: by its first row, and as usual where that names no duration."""
        durations: dict[str, int] = {}
        for row in self.songs:
            text = row[DURATION_MS]
            durations.setdefault(row[TRACK_ID], (int(text) if text.isdecimal() else 0) or USUAL_DURATION_MS)
        return list(durations.values())


def build_catalog(seed: int, *, users: int = 1_200, songs: int = 6_000, genres: int = len(GENRES)) -> Catalog:
    """Make the catalog of this seed.

    Args:
        seed: Same seed and sizes, same rows.
        users: Number of users.
        songs: Number of song rows; about 12 % of them repeat a track of another row.
        genres: Number of genres.
    """
    rng = np.random.default_rng([seed, 1])
    return Catalog(
        users=_build_users(rng, users),
        songs=_build_songs(rng, songs, [*GENRES, *(f"genre-{n}" for n in range(len(GENRES), genres))][:genres]),
    )


def write_catalog(catalog: Catalog, directory: Path) -> None:
    """Write `users/users.csv` and `songs/songs.csv` under `directory`."""
    for key, header, rows in (
        (layout.USERS_KEY, USERS.columns, catalog.users),
        (layout.SONGS_KEY, SONGS.columns, catalog.songs),
    ):
        path = directory / key
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            writer.writerows(rows)


def read_catalog(directory: Path) -> Catalog:
    """Read what `write_catalog` wrote.

    Raises:
        ProducerError: A file is missing or has another header.
    """
    found: list[tuple[Row, ...]] = []
    for key, header in ((layout.USERS_KEY, USERS.columns), (layout.SONGS_KEY, SONGS.columns)):
        path = directory / key
        rows: list[Row] = []
        if path.is_file():
            with path.open(encoding="utf-8", newline="") as file:
                rows = [tuple(row) for row in csv.reader(file, strict=True)]
        if not rows or rows[0] != header:
            raise ProducerError(
                expected=f"{path} with the header {','.join(header)}",
                found=f"the header {','.join(rows[0])!r}" if rows else "no such file, or an empty one",
                do="Replay your own files, or name a directory whose catalog was made by this producer.",
            )
        found.append(tuple(rows[1:]))
    return Catalog(users=found[0], songs=found[1])


def prepare_catalog(directory: Path, seed: int, *, users: int, songs: int, genres: int) -> Catalog:
    """Return the catalog under `directory`; make and write it first where there is none.

    A later run with another seed so sends listens of the users and songs that the pipeline already knows.
    """
    if (directory / layout.USERS_KEY).exists() or (directory / layout.SONGS_KEY).exists():
        return read_catalog(directory)
    catalog = build_catalog(seed, users=users, songs=songs, genres=genres)
    write_catalog(catalog, directory)
    return catalog


def build_track_id(rng: np.random.Generator) -> str:
    """Return a random id that looks like Spotify's: 22 base62 characters."""
    return "".join(BASE62[digit] for digit in rng.integers(0, len(BASE62), TRACK_ID_LENGTH))


def _build_users(rng: np.random.Generator, count: int) -> tuple[Row, ...]:
    """Make all users at once: a load test has some hundred thousand of them."""
    given, family, noun, country = (
        rng.integers(0, len(words), count).tolist() for words in (GIVEN_NAMES, FAMILY_NAMES, NOUNS, COUNTRIES)
    )
    ages = rng.integers(13, 90, count).tolist()
    created = (np.datetime64("2023-01-01") + rng.integers(0, 730, count)).astype(str).tolist()
    quoted = (rng.random(count) < 0.02).tolist()
    rows = []
    for user in range(count):
        name = f"{GIVEN_NAMES[given[user]]} {FAMILY_NAMES[family[user]]}"
        if quoted[user]:
            name = f'{name}, "{NOUNS[noun[user]]}"'
        rows.append((str(FIRST_USER_ID + user), name, str(ages[user]), COUNTRIES[country[user]], created[user]))
    return tuple(rows)


def _build_songs(rng: np.random.Generator, count: int, genres: list[str]) -> tuple[Row, ...]:
    repeated = int(count * REPEATED_SHARE) if len(genres) > 1 else 0
    songs = [_build_song(rng, number) for number in range(count - repeated)]
    for number, song in enumerate(songs):
        song["track_genre"] = genres[number % len(genres)]
    chosen = rng.permutation(len(songs)).tolist()
    for number in chosen[:repeated]:
        other = (genres.index(songs[number]["track_genre"]) + int(rng.integers(1, len(genres)))) % len(genres)
        songs.append(songs[number] | {"track_genre": genres[other]})
    invalid = max(len(INVALID_CELLS), round(count * INVALID_SHARE))
    for case, number in enumerate(chosen[repeated : repeated + invalid]):
        column, text = INVALID_CELLS[case % len(INVALID_CELLS)]
        songs[number][column] = text
    for song_id, song in enumerate(songs):
        song["id"] = str(song_id)
    # The file is in another order than the ids: "first in the file" is not "lowest id".
    return tuple(tuple(songs[place][name] for name in SONGS.columns) for place in rng.permutation(len(songs)).tolist())


def _build_song(rng: np.random.Generator, serial: int) -> dict[str, str]:
    adjective, noun = _pick(rng, ADJECTIVES), _pick(rng, NOUNS)
    pattern = AWKWARD_TITLES[serial % len(AWKWARD_TITLES)] if rng.random() < AWKWARD_SHARE else "{a} {n} {serial}"
    band = f"The {_pick(rng, ADJECTIVES)} {_pick(rng, NOUNS)}"
    shares = ("danceability", "energy", "speechiness", "acousticness", "instrumentalness", "liveness", "valence")
    return {name: f"{rng.random():.3f}" for name in shares} | {
        "track_id": build_track_id(rng),
        "artists": f"{band};{_pick(rng, FAMILY_NAMES)}, Jr." if rng.random() < 0.1 else band,
        "album_name": f'{noun} "{adjective}", Vol. {rng.integers(1, 9)}' if rng.random() < 0.1 else noun,
        "track_name": pattern.format(a=adjective, n=noun, serial=serial),
        "popularity": str(rng.integers(0, 101)),
        "duration_ms": str(int(np.clip(rng.lognormal(12.25, 0.35), 30_000, 1_200_000))),
        "explicit": "True" if rng.random() < 0.09 else "False",
        "key": str(rng.integers(0, 12)),
        "loudness": f"{-rng.gamma(4.0, 2.0):.3f}",
        "mode": str(rng.integers(0, 2)),
        "tempo": f"{rng.normal(122.0, 28.0):.3f}",
        "time_signature": str(rng.choice([3, 4, 4, 4, 5])),
    }


def _pick(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    return words[int(rng.integers(0, len(words)))]
