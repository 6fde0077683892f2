"""What the truth is made of, a ledger, facts and dimensions, and the manifest that keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from producers.errors import ProducerError
from producers.ledger import LEDGER
from producers.manifest import TruthManifest, read_manifest, write_manifest
from producers.records import FACTS
from producers.replay import Replay
from producers.truth import build_sent, compute_truth
from tests.unit.replayed_listens import SENT_AT, acknowledge, truth_of

if TYPE_CHECKING:
    from pathlib import Path


def test_events_of_any_positions_are_joined_with_their_facts() -> None:
    count = 7
    facts = pa.Table.from_pylist([dict.fromkeys(FACTS.names) | {"user_id": n} for n in range(count)], FACTS)
    facts = pa.concat_tables([facts.slice(0, 3), facts.slice(3)])
    ledger = acknowledge(count).take([1, 2, 4, 6])
    sent = build_sent(facts, ledger)
    assert sent["user_id"].to_pylist() == sent["position"].to_pylist() == [1, 2, 4, 6]
    assert sent.select(LEDGER.names).cast(LEDGER) == ledger
    assert build_sent(facts, LEDGER.empty_table()).num_rows == 0


@pytest.mark.parametrize("positions", [[1, 0], [1, 1], [0, 7], [-1, 0]])
def test_a_ledger_out_of_order_is_no_truth(positions: list[int]) -> None:
    facts = pa.Table.from_pylist([dict.fromkeys(FACTS.names)] * 7, FACTS)
    ledger = acknowledge(2).set_column(0, "position", pa.array(positions, pa.int64()))
    with pytest.raises(ProducerError, match="expected ascending positions of 7 events"):
        build_sent(facts, ledger)


def test_a_manifest_row_says_where_an_event_stands_and_how_it_got_there(tmp_path: Path) -> None:
    truth = truth_of(tmp_path, "1,a,2024-06-25T10:00:00Z\n1,b,2024-06-25T10:00:00Z\n", lost=(1,))
    names = ["acknowledged", "shard_id", "sequence_number", "line", "sent_at", "acknowledged_at", "tries", "unanswered"]
    assert truth.records.select(names).to_pylist() == [
        dict(zip(names, row, strict=True))
        for row in [
            (True, "shardId-0", "7", 1, SENT_AT, SENT_AT + 0.5, 1, 0),
            (False, None, None, 1, SENT_AT, None, 1, 1),
        ]
    ]


@pytest.mark.parametrize(
    ("users", "message"),
    [
        ("", r"user_id, user_name in .*users\.csv.*found an empty file"),
        ("user_id,name\n1,x\n", "found the header 'user_id,name'"),
        (None, r"dimension file .*users\.csv"),
    ],
)
def test_a_dimension_file_that_cannot_be_used_is_named(tmp_path: Path, users: str | None, message: str) -> None:
    truth_of(tmp_path, "1,a,2024-06-25T10:00:00Z\n")
    (tmp_path / "users.csv").unlink()
    if users is not None:
        (tmp_path / "users.csv").write_text(users)
    sent = build_sent(Replay([tmp_path / "listens.csv"]).facts(), acknowledge(1))
    with pytest.raises(ProducerError, match=message):
        compute_truth(sent, users_csv=tmp_path / "users.csv", songs_csv=tmp_path / "songs.csv")


def test_the_manifest_survives_the_disk_and_its_absence_is_an_error(tmp_path: Path) -> None:
    truth = truth_of(tmp_path, "1,a,2024-06-25T10:00:00Z\n77,a,2024-06-25T10:00:00Z\nx,a,t\n", lost=(2,))
    manifest = TruthManifest(source="replay", stream="listens", settings={"a": 1}, delivery={"sent": 3}, truth=truth)
    with pytest.raises(ProducerError, match="found no such file"):
        read_manifest(tmp_path / "truth")
    write_manifest(manifest, tmp_path / "truth")
    again = read_manifest(tmp_path / "truth")
    assert again == manifest
    assert again.truth.rejects == truth.rejects != []
    assert sorted(path.name for path in (tmp_path / "truth").iterdir()) == [
        "kpis.json",
        "manifest.json",
        "records.parquet",
    ]
