"""The catalog's files against the csv module and the traps that domain.md names."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import pytest

from producers.catalog import Catalog, build_catalog, prepare_catalog, read_catalog, write_catalog
from producers.errors import ProducerError

if TYPE_CHECKING:
    from pathlib import Path

USERS_HEADER = "user_id,user_name,user_age,user_country,created_at"
SONGS_HEADER = (
    "id,track_id,artists,album_name,track_name,popularity,duration_ms,explicit,danceability,energy,key,loudness,mode,"
    "speechiness,acousticness,instrumentalness,liveness,valence,tempo,time_signature,track_genre"
)


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return build_catalog(5)


def test_same_seed_same_rows_other_seed_other_rows(catalog: Catalog) -> None:
    assert build_catalog(5) == catalog
    other = build_catalog(6)
    assert not set(other.track_ids) & set(catalog.track_ids)


def test_files_have_the_headers_and_survive_the_csv_module(catalog: Catalog, tmp_path: Path) -> None:
    write_catalog(catalog, tmp_path)
    for key, header, rows in (
        ("users/users.csv", USERS_HEADER, catalog.users),
        ("songs/songs.csv", SONGS_HEADER, catalog.songs),
    ):
        text = (tmp_path / key).read_text(encoding="utf-8")
        assert text.startswith(header)
        with (tmp_path / key).open(encoding="utf-8", newline="") as file:
            assert list(csv.reader(file, strict=True)) == [header.split(","), *map(list, rows)]
    assert read_catalog(tmp_path) == catalog


def test_sizes_and_traps_are_all_there(catalog: Catalog) -> None:
    names = SONGS_HEADER.split(",")
    songs = [dict(zip(names, row, strict=True)) for row in catalog.songs]
    assert len(set(catalog.user_ids)) == len(catalog.users) == 1_200
    assert len(songs) == 6_000
    assert len({song["id"] for song in songs}) == 6_000
    assert len(catalog.track_ids) >= 5_000
    assert len({song["track_genre"] for song in songs if song["track_genre"].strip()}) == 114
    assert all(len(song["track_id"]) == 22 and song["track_id"].isalnum() for song in songs)
    titles = [song["track_name"] for song in songs]
    for trap in ('"', ",", '",', "\n", "\\", "夜", "П", "안", "ل", "र", "é"):
        assert any(trap in title for title in titles), trap
    invalid = [
        song
        for song in songs
        if not song["track_name"].strip() or not song["track_genre"].strip() or not int(song["duration_ms"] or 0)
    ]
    assert 0.001 < len(invalid) / len(songs) < 0.006
    assert {"", "0"} <= {song["duration_ms"] for song in invalid}


def test_repeated_tracks_differ_in_id_and_genre_and_the_lowest_id_is_not_always_first(catalog: Catalog) -> None:
    names = SONGS_HEADER.split(",")
    by_track = defaultdict(list)
    for row in catalog.songs:
        by_track[row[1]].append(dict(zip(names, row, strict=True)))
    repeated = [songs for songs in by_track.values() if len(songs) > 1]
    assert len(repeated) > 500
    assert all(len({song["track_genre"] for song in songs}) == len(songs) for songs in repeated)
    first_is_lowest = Counter(int(songs[0]["id"]) == min(int(song["id"]) for song in songs) for songs in repeated)
    assert min(first_is_lowest[True], first_is_lowest[False]) > 100


def test_an_existing_catalog_is_kept(tmp_path: Path) -> None:
    made = prepare_catalog(tmp_path, 1, users=10, songs=50, genres=3)
    assert prepare_catalog(tmp_path, 2, users=99, songs=99, genres=9) == made


def test_a_foreign_or_half_catalog_is_refused(tmp_path: Path) -> None:
    write_catalog(build_catalog(1, users=3, songs=20, genres=2), tmp_path)
    (tmp_path / "songs/songs.csv").write_text("id,name\n1,x\n")
    with pytest.raises(ProducerError, match=r"songs\.csv with the header id,track_id.*found the header 'id,name'"):
        prepare_catalog(tmp_path, 1, users=3, songs=20, genres=2)
    (tmp_path / "songs/songs.csv").unlink()
    with pytest.raises(ProducerError, match="no such file"):
        prepare_catalog(tmp_path, 1, users=3, songs=20, genres=2)
