"""The live check's verdict on hand-made streams: each kind of trouble is named, and nothing else is.

The ledger below sends six events of two users to one shard, one a second; event 3 repeats event 1, event 5 is
malformed and has no id. Sequence numbers are 90, 100, 110 …, so that they order by number and not by letter.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from listenlake.watch.verdict import Verification
from listenlake.watch.verification import count_missing, verify

SENT_AT = 1_700_000_000.0
SHARD = "shardId-000000000000"
IDS = ["a", "b", "c", "a", "d", None]
USERS = [1, 2, 1, 1, 2, None]
SCHEMA = pa.schema(
    [
        ("position", pa.int64()),
        ("kind", pa.string()),
        ("acknowledged", pa.bool_()),
        ("shard_id", pa.string()),
        ("sequence_number", pa.string()),
        ("line", pa.int32()),
        ("sent_at", pa.float64()),
        ("tries", pa.int32()),
        ("unanswered", pa.int32()),
        ("event_id", pa.string()),
        ("user_id", pa.int64()),
        ("track_id", pa.string()),
        ("listen_time", pa.timestamp("us")),
    ]
)


def sequence(position: int) -> str:
    return str(90 + 10 * position)


def ledger_rows() -> list[dict[str, Any]]:
    return [
        {
            "position": position,
            "kind": "malformed" if event_id is None else "plain",
            "acknowledged": True,
            "shard_id": SHARD,
            "sequence_number": sequence(position),
            "line": 1,
            "sent_at": SENT_AT + position,
            "tries": 1,
            "unanswered": 0,
            "event_id": event_id,
            "user_id": user_id,
            "track_id": None if event_id is None else "t",
            "listen_time": None,
        }
        for position, (event_id, user_id) in enumerate(zip(IDS, USERS, strict=True))
    ]


def sightings() -> list[tuple[str, int, str, float]]:
    """(sequence number, line, event id, seconds from sending the first to being seen) of a stream without trouble."""
    return [(sequence(position), 1, event_id or "", position + 0.2) for position, event_id in enumerate(IDS)]


class Check:
    """Verifies hand-made rows against hand-made files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, ledger: list[dict[str, Any]], *files: list[tuple[str, int, str, float]]) -> Verification:
        for number, seen in enumerate(files):
            self.write(number, seen)
        return verify(pa.Table.from_pylist(ledger, schema=SCHEMA), self.folder)

    def write(self, number: int, seen: list[tuple[str, int, str, float]], torn: bytes = b"") -> None:
        """Write a processor's file. A record arrives 50 ms before it is seen."""
        rows = [
            f"{name}\t{line}\t{event_id}\t{round((SENT_AT + at) * 1000) - 50}\t{round((SENT_AT + at) * 1e6)}\t.\n"
            for name, line, event_id, at in seen
        ]
        (self.folder / f"{SHARD}.{number}.1.tsv").write_bytes("".join(rows).encode() + torn)


@pytest.fixture
def check(tmp_path: Path) -> Check:
    return Check(tmp_path)


def test_a_stream_without_trouble(check: Check) -> None:
    found = check(ledger_rows(), sightings())
    assert found.verdict() == "complete: 6 of 6 acknowledged events seen, duplicates as injected"
    assert found.is_good
    assert (found.duplicates_injected, found.duplicates_found) == (1, 1)
    assert (found.other, found.sent_twice, found.redelivered, found.out_of_order) == (0, 0, 0, 0)
    assert found.latency_ms.p50 == found.latency_ms.max == pytest.approx(50.0, abs=0.1)
    assert found.sent_to_seen_ms.max == pytest.approx(200.0, abs=0.1)
    assert [(minute.minute, minute.acknowledged, minute.seen, minute.equal) for minute in found.minutes] == [
        ("2023-11-14T22:13Z", 6, 6, True)
    ]
    assert [(second.second, second.events) for second in found.series] == [(n, 1) for n in range(6)]
    assert [(shard.shard_id, shard.expected, shard.seen, shard.missing) for shard in found.shards] == [(SHARD, 6, 6, 0)]


def test_a_lost_event(check: Check) -> None:
    seen = sightings()
    del seen[2]
    found = check(ledger_rows(), seen)
    assert found.verdict() == (
        "incomplete: 5 of 6 acknowledged events seen, duplicates as injected, "
        "counts or ids differ in 1 minute (2023-11-14T22:13Z)"
    )
    assert not found.is_good
    assert found.missing_sample == (f"2 (plain) at {SHARD}/110/1",)


def test_a_loss_and_a_duplicate_do_not_cancel_out(check: Check) -> None:
    seen = sightings()
    seen[2] = ("115", 1, "b", 2.2)
    found = check(ledger_rows(), seen)
    assert (found.seen, found.missing) == (5, 1)
    assert found.verdict().startswith(
        "incomplete: 5 of 6 acknowledged events seen, 1 duplicate more than injected, counts or ids differ in 1 minute"
    )


def test_a_further_copy_that_nothing_explains(check: Check) -> None:
    found = check(ledger_rows(), [*sightings(), ("200", 1, "b", 9.0)])
    assert found.verdict() == "complete: 6 of 6 acknowledged events seen, 1 duplicate more than injected"
    assert not found.is_good
    assert (found.sent_twice, found.other) == (0, 0)


def test_a_further_copy_by_a_lost_answer(check: Check) -> None:
    ledger = ledger_rows()
    ledger[1] |= {"unanswered": 1, "tries": 2}
    found = check(ledger, [*sightings(), ("95", 1, "b", 1.1)])
    assert found.is_good
    assert (found.sent_twice, found.duplicates_found, found.other) == (1, 1, 0)


def test_lost_answers_excuse_so_many_copies_and_no_more(check: Check) -> None:
    ledger = ledger_rows()
    ledger[1] |= {"unanswered": 1, "tries": 2}
    found = check(ledger, [*sightings(), ("95", 1, "b", 1.1), ("97", 1, "b", 1.2)])
    assert (found.sent_twice, found.duplicates_found) == (1, 2)
    assert not found.is_good


def test_a_malformed_event_by_a_lost_answer(check: Check) -> None:
    ledger = ledger_rows()
    ledger[5] |= {"unanswered": 1, "tries": 2}
    found = check(ledger, [*sightings(), ("135", 1, "", 5.1), ("136", 1, "", 5.1)])
    assert found.is_good
    assert (found.sent_twice, found.other) == (1, 1)


def test_a_record_that_was_never_acknowledged_yet_arrived(check: Check) -> None:
    ledger = ledger_rows()
    ledger[4] |= {"acknowledged": False, "shard_id": None, "sequence_number": None, "line": None}
    found = check(ledger, sightings())
    assert found.verdict() == "complete: 5 of 5 acknowledged events seen, duplicates as injected"
    assert (found.unacknowledged, found.other) == (1, 0)


def test_strangers_and_what_came_before(check: Check) -> None:
    found = check(ledger_rows(), [("10", 1, "b", -60.0), *sightings(), ("200", 1, "zz", 9.0)])
    assert found.is_good
    assert found.other == 2


def test_other_bytes_than_were_sent(check: Check) -> None:
    seen = sightings()
    seen[1] = (sequence(1), 1, "zz", 1.2)
    found = check(ledger_rows(), seen)
    assert found.altered == 1
    assert [minute.equal for minute in found.minutes] == [False]
    assert "1 with another id than was sent" in found.verdict()
    assert not found.is_good


def test_an_injected_duplicate_that_is_missing(check: Check) -> None:
    seen = sightings()
    del seen[3]
    found = check(ledger_rows(), seen)
    assert "1 duplicate fewer than injected" in found.verdict()


def test_order_within_a_key(check: Check) -> None:
    ledger = ledger_rows()
    ledger[0]["sequence_number"], ledger[2]["sequence_number"] = sequence(2), sequence(0)
    seen = sightings()
    seen[0], seen[2] = (sequence(0), 1, "c", 0.2), (sequence(2), 1, "a", 2.2)
    found = check(ledger, seen)
    assert (found.out_of_order, found.out_of_order_resent) == (1, 0)
    assert found.verdict().endswith("1 event out of order within a key")
    assert not found.is_good
    ledger[0] |= {"unanswered": 1, "tries": 2}
    found = check(ledger, seen)
    assert (found.out_of_order, found.out_of_order_resent) == (0, 1)
    assert found.is_good


def test_order_is_the_consumers_and_by_number(check: Check) -> None:
    # All in one batch: 90 comes before 100, though not as text.
    assert check(ledger_rows(), [(*one[:3], 7.0) for one in sightings()]).out_of_order == 0
    # A consumer that sees a later batch first is out of order, whatever the sequence numbers say.
    seen = sightings()
    seen[0] = (*seen[0][:3], 8.0)
    assert check(ledger_rows(), seen).out_of_order == 1


def test_a_redelivery_is_no_duplicate_and_its_first_sighting_counts(check: Check) -> None:
    again = [(name, line, event_id, at + 30.0) for name, line, event_id, at in sightings()[1:4]]
    found = check(ledger_rows(), sightings(), again)
    assert found.is_good
    assert (found.redelivered, found.duplicates_found) == (3, 1)
    assert found.latency_ms.max == pytest.approx(50.0, abs=0.1)
    assert found.sent_to_seen_ms.max == pytest.approx(200.0, abs=0.1)


@pytest.mark.parametrize("cut", [1, 3, 6, 8, 20, 30, 35, 38])
def test_a_torn_line_counts_only_when_it_comes_again(check: Check, cut: int) -> None:
    whole = f"{sequence(5)}\t1\t\t1700000005150\t1700000005200000\t.\n".encode()
    check.write(0, sightings()[:5], torn=whole[:cut])
    ledger = pa.Table.from_pylist(ledger_rows(), schema=SCHEMA)
    assert count_missing(ledger, check.folder) == 1
    check.write(1, sightings()[5:])
    assert count_missing(ledger, check.folder) == 0
    assert verify(ledger, check.folder).redelivered == 0


def test_lines_of_one_record_are_positions_of_their_own(check: Check) -> None:
    ledger = ledger_rows()[:3]
    for line, row in enumerate(ledger, start=1):
        row |= {"sequence_number": "90", "line": line}
    seen = [("90", 1, "a", 0.2), ("90", 2, "b", 0.2), ("90", 3, "c", 0.2)]
    assert check(ledger, seen).is_good
    assert check(ledger, seen[:2]).missing_sample == (f"2 (plain) at {SHARD}/90/3",)


def test_an_accepted_event_without_an_id_has_the_derived_one(check: Check) -> None:
    ledger = ledger_rows()[:1]
    ledger[0] |= {
        "event_id": None,
        "user_id": 42,
        "track_id": "0abcDEF",
        "listen_time": datetime.fromisoformat("2024-06-25T17:43:13"),
    }
    # The vector of tests/unit/test_lakehouse_events.py.
    assert check(ledger, [("90", 1, "25649fac-cb3d-51a8-9c64-7b105c21d190", 0.2)]).is_good
    assert check(ledger, [("90", 1, "25649fac-cb3d-51a8-9c64-7b105c21d191", 0.2)]).altered == 1


def test_nothing_seen_and_nothing_sent(check: Check) -> None:
    found = check(ledger_rows())
    assert (found.seen, found.expected, found.is_complete) == (0, 6, False)
    assert found.latency_ms.p50 is None
    nothing = check([])
    assert nothing.verdict() == "nothing to verify: the ledger has no acknowledged event"
    assert not nothing.is_good


def test_json_has_the_report_s_names(check: Check) -> None:
    values = replace(check(ledger_rows(), sightings()), restarts=2).to_json()
    assert values["verdict"].startswith("complete: 6 of 6")
    assert (values["complete"], values["good"], values["missing"], values["restarts"]) == (True, True, 0, 2)
    assert set(values["latency_ms"]) == {"p50", "p95", "p99", "max"}
    assert values["shards"][0]["shard_id"] == SHARD
    assert values["minutes"][0]["equal"] is True
    assert values["series"][0]["second"] == 0
