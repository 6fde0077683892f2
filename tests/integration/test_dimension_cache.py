"""Dimensions are read again only when their file changed, and what they make known comes out of the rejects, once."""

from __future__ import annotations

from collections import Counter

from lakehouse import layout
from tests.integration.laboratory import Lab
from tests.integration.records import listen, song

DAY = "2024-06-25"


def versions(lab: Lab) -> tuple[int, int]:
    bucket = lab.places.curated_bucket
    return lab.delta_version(bucket, layout.KNOWN_USERS), lab.delta_version(bucket, layout.KNOWN_SONGS)


def test_a_file_is_read_again_only_when_it_changed_and_a_change_is_reported(lab: Lab) -> None:
    lab.put_users(1, 2)
    lab.put_songs(song(1, "a"), song(2, "b"))
    deliveries = [listen(1, track, f"{DAY}T10:00:0{second}", sequence=second) for second, track in enumerate("aab")]
    lab.put_batch(0, *deliveries)
    first = lab.transform()
    assert first["dimensions"] == {
        "users": {"added": 2, "changed": 0, "removed": 0, "curated_listens": 0},
        "songs": {"added": 2, "changed": 0, "removed": 0, "curated_listens": 0},
    }
    held = versions(lab)
    lab.put_batch(1, listen(2, "a", f"{DAY}T11:00:00", sequence=9))
    assert "dimensions" not in lab.transform()
    assert versions(lab) == held

    lab.put_songs(song(1, "a", genre="pop"), song(3, "c"), song(4, "d"))
    assert lab.transform()["dimensions"] == {
        "songs": {"added": 2, "changed": 1, "removed": 1, "curated_listens": 4},
    }
    assert versions(lab) == (held[0], held[1] + 1)
    assert {row["track_genre"] for row in lab.latest()} == {"rock"}, "listens keep what they were merged with"
    [user] = [row for row in lab.delta_rows(lab.places.curated_bucket, layout.KNOWN_USERS) if row["user_id"] == 1]
    assert user == {"user_id": 1, "user_age": 30, "user_country": "Ghana"}, "names stay in the file"


def account(lab: Lab) -> tuple[int, Counter[tuple[str, str]]]:
    return len(lab.latest()), Counter((row["reason"], row["sequence_number"]) for row in lab.rejects())


def test_unknown_users_and_tracks_come_back_once_when_they_are_known(lab: Lab) -> None:
    lab.put_users(1)
    lab.put_songs(song(1, "a"))
    stranger = listen(9, "a", f"{DAY}T10:00:00.123456", sequence=1, platform="web", extra=[("k", "v")])
    lab.put_batch(
        0, stranger, listen(9, "x", f"{DAY}T10:00:01", sequence=2), listen(1, "a", f"{DAY}T10:00:02", sequence=3)
    )
    lab.put_batch(1, stranger, listen(1, "x", f"{DAY}T10:00:03", sequence=4))
    lab.put_batch(
        2,
        listen(9, "a", f"{DAY}T11:00:00", event_id="e", sequence=5),
        listen(1, "a", f"{DAY}T11:00:00", event_id="e", sequence=6),
    )
    lab.transform()
    rejects = Counter(
        {("unknown_user", "1"): 2, ("unknown_user", "2"): 1, ("unknown_track", "4"): 1, ("unknown_user", "5"): 1}
    )
    assert account(lab) == (2, rejects)

    lab.put_users(1, 9)
    assert lab.transform(dry_run="true")["would"]["come_back"] == 3
    assert account(lab) == (2, rejects)
    assert lab.transform(kill_at="reentry_merged")["crashed"]
    assert lab.transform(kill_at="reentry_rejects_written")["crashed"]
    facts = lab.transform()
    left = Counter({("unknown_user", "2"): 1, ("unknown_track", "4"): 1, ("conflicting_duplicate", "5"): 1})
    assert account(lab) == (3, left), "one came twice and counts once; one came too late for its id"
    [back] = [row for row in lab.latest() if row["user_id"] == 9]
    assert {name: back[name] for name in ("listen_time", "event_id", "platform", "extra")} == {
        name: stranger[name] for name in ("listen_time", "event_id", "platform", "extra")
    }
    assert facts["dimensions"]["users"]["added"] == 1

    lab.put_songs(song(1, "a"), song(2, "x"))
    lab.put_batch(3, listen(9, "x", f"{DAY}T10:00:01", sequence=7))
    facts = lab.transform()
    assert facts["reentered"] == {"accepted": 2, "duplicate": 0}
    assert (facts["accepted"], facts["duplicates"]) == (0, 1), "what was set aside came first"
    settled = account(lab)
    assert settled == (5, Counter({("conflicting_duplicate", "5"): 1}))
    lab.kpis()
    served = lab.genre_items()

    for users in ((1,), (1, 9)):
        lab.put_users(*users)
        assert "reentered" not in lab.transform()
        lab.kpis()
    assert (account(lab), lab.genre_items()) == (settled, served), "a file that goes and comes lets nobody in twice"
