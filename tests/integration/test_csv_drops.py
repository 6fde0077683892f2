"""CSV files under `streams/`, from the object to what is served: killed, dropped again, corrected, by two at once."""

from __future__ import annotations

import base64
import json
import threading
from dataclasses import replace
from typing import Any, Final

from lakehouse import layout
from lakehouse.batches import Manifest
from lakehouse.boundaries import Boundaries
from lakehouse.drops import list_markers
from lakehouse.jobs import Run
from lakehouse.settings import IngestSettings
from streaming_jobs.csv_drops import DropIngestion
from streaming_jobs.micro_batches import MicroBatchSink
from tests.integration.laboratory import Lab
from tests.integration.records import song

KEY: Final = "streams/june/day.csv"
FIRST: Final = (
    b"\xef\xbb\xbflisten_time,user_id,mood,track_id\r\n"
    b"2024-06-25T10:00:00Z,1,glad,a\r\n"
    b'2024-06-25 10:01:00,1,,"no ""such""\r\n\r\ntrack"\r\n'
    b"2024-06-25T10:02:00Z,2\r\n"
    b"2024-06-25T10:03:00Z,two,,b\r\n"
    b"2024-06-25T10:04:00Z,2,,b\xff\r\n"
    b'2024-06-25T10:05:00Z,2,,"b"x\r\n'
    b"2024-06-25T10:06:00Z,2,,b"
)
CORRECTED: Final = FIRST.replace(b"10:02:00Z,2\r\n", b"10:02:00Z,2,,a\r\n")


def manifests(lab: Lab, prefix: str = layout.PROCESSED) -> dict[str, Manifest]:
    """Committed batches by what their name begins with."""
    keys = [key for key in lab.keys(f"{prefix}generation=drops/") if key.endswith("/" + layout.MANIFEST)]
    return {key.split("batch=")[1].rsplit("-", 1)[0]: Manifest.from_json(lab.read(key)) for key in keys}


def rejects(lab: Lab, manifest: Manifest) -> list[tuple[str, str, int, bytes]]:
    """Reason, file, first line and payload of the rejects that a manifest names."""
    rows = [json.loads(line) for file in manifest.rejects for line in lab.read(file.key).splitlines()]
    assert {row["source_batch"] for row in rows} == {manifest.id.path}
    return sorted(((row["reason"], row["stream"], row["line"], payload(row)) for row in rows), key=lambda row: row[2])


def payload(row: dict[str, Any]) -> bytes:
    return base64.b64decode(row["payload_base64"]) if "payload_base64" in row else row["payload"].encode()


def test_a_file_counts_once_however_often_it_comes_and_dies(lab: Lab) -> None:
    lab.put_users(1, 2)
    lab.put_songs(song(0, "a"), song(1, "b", genre="pop"))
    etag = lab.put(KEY, FIRST)
    lab.put("streams/utf16.csv", FIRST.decode("latin-1").encode("utf-16"))
    lab.put("streams/only-a-header.csv", "user_id,track_id,listen_time\n")
    lab.put("streams/notes.txt", "no listens")

    # A run dies before each commit; only the third one has made the first file a batch.
    for boundary in ("records_judged", "data_written", "manifest_written"):
        assert not manifests(lab)
        lab.ingest_drops(kill_at=boundary)
    before = lab.read(manifests(lab)["june_day"].id.manifest_key)
    assert not list_markers(lab.s3, lab.places.raw_bucket)
    assert lab.ingest_drops() == 3
    assert lab.ingest_drops() == 0
    found = manifests(lab)
    assert found.keys() == {"june_day", "utf16"}, "a file without records leaves a marker and no batch"
    assert len(list_markers(lab.s3, lab.places.raw_bucket)) == 3
    day = found["june_day"]
    assert lab.read(day.id.manifest_key) == before
    assert (day.rows, day.rejected) == (3, {"malformed_csv": 2, "wrong_type": 1, "invalid_utf8": 1})
    assert rejects(lab, day) == [
        ("malformed_csv", KEY, 6, b"2024-06-25T10:02:00Z,2\r\n"),
        ("wrong_type", KEY, 7, b'{"listen_time":"2024-06-25T10:03:00Z","user_id":"two","track_id":"b"}'),
        ("invalid_utf8", KEY, 8, b'{"listen_time":"2024-06-25T10:04:00Z","user_id":2,"track_id":"b\xff"}'),
        ("malformed_csv", KEY, 9, b'2024-06-25T10:05:00Z,2,,"b"x\r\n'),
    ]
    assert (found["utf16"].rows, found["utf16"].rejected) == (0, {"unreadable_csv": 1})
    [(reason, file, line, _)] = rejects(lab, found["utf16"])
    assert (reason, file, line) == ("unreadable_csv", "streams/utf16.csv", 1)

    # The rest of the way knows nothing of files; losers' rejects go when the batch is archived.
    facts = lab.transform()
    assert (facts["accepted"], facts["rejected"], facts["batches_archived"]) == (2, {"unknown_track": 1}, 2)
    assert manifests(lab) == {}
    assert manifests(lab, layout.ARCHIVES).keys() == {"june_day", "utf16"}
    named = {file.key for manifest in found.values() for file in manifest.rejects}
    kept = lab.keys(f"{layout.BAD_RECORDS}{layout.INGEST_JOB}/")
    assert {key for key in kept if key.endswith(".json")} == named
    [unknown] = lab.rejects()
    assert (unknown["stream"], unknown["shard_id"], unknown["line"]) == (KEY, etag, 3)
    assert [(row["track_id"], row["extra"]) for row in lab.latest()] == [("a", [("mood", '"glad"')]), ("b", None)]

    # The same bytes again, and a run that died before it put the marker of a batch that is archived by now.
    assert lab.put(KEY, FIRST) == etag
    assert lab.ingest_drops() == 0
    for key in list_markers(lab.s3, lab.places.raw_bucket):
        lab.s3.delete_object(Bucket=lab.places.raw_bucket, Key=key)
    lab.ingest_drops()
    assert manifests(lab) == {}
    assert len(list_markers(lab.s3, lab.places.raw_bucket)) == 3

    # A corrected file of the same name, taken by two runs at once: one of them wins.
    lab.put(KEY, CORRECTED)
    winners: list[Manifest] = []

    def two_at_once(run: Run[IngestSettings]) -> None:
        def overtake() -> None:
            DropIngestion(run, MicroBatchSink(run)).ingest_waiting(threading.Event())
            winners.append(manifests(lab)["june_day"])

        slow = replace(run, boundaries=Boundaries("data_written", kill=overtake))
        DropIngestion(slow, MicroBatchSink(slow)).ingest_waiting(threading.Event())

    lab._run(two_at_once, lab.settings(IngestSettings), "-")
    assert [*manifests(lab).values()] == winners
    assert (winners[0].rows, winners[0].rejected["malformed_csv"]) == (4, 1)
    facts = lab.transform()
    assert (facts["received"], facts["accepted"], facts["duplicates"]) == (4, 1, 2)
    lab.kpis()
    counts = {key: item["listen_count"] for key, item in lab.genre_items().items()}
    assert counts == {("2024-06-25", "rock"): 2, ("2024-06-25", "pop"): 1}
