"""The ledger of a lane: every event and every try accounted for, also in a file that was cut off."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from botocore.exceptions import EndpointConnectionError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakehouse.events import split_events
from producers.errors import LaneError
from producers.ledger import LEDGER, LedgerWriter, read_ledger
from producers.packing import Entry
from tests.unit.scripted_kinesis import Delivering, FakeKinesis, make_events, unpack


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.one_of(st.none(), st.sets(st.integers(0, 499))), max_size=8),
    st.integers(0, 1_300),
    st.sampled_from([0, 200]),
)
def test_sent_is_acknowledged_plus_failed(
    tmp_path: Path, failing: list[set[int] | None], count: int, aggregate: int
) -> None:
    def script(call: int, entries: list[dict[str, Any]]) -> set[int]:
        places = failing[(call - 1) % len(failing)] if failing else set()
        if places is None:
            raise EndpointConnectionError(endpoint_url="http://x")
        return {place for place in places if place < len(entries)}

    kinesis = FakeKinesis(script)
    events = make_events(count, size=20)
    run = Delivering(kinesis, tmp_path, retry_for_s=2.0, aggregate_bytes=aggregate)
    with suppress(LaneError):
        run.send(events)
    sent, ledger, totals = run.sent, run.sent.ledger, run.sent.measures.totals
    kept = unpack(kinesis)
    assert sent.acknowledged == totals.acknowledged == len(kept) == len(set(kept))
    assert ledger["shard_id"].is_null().equals(ledger["sequence_number"].is_null())
    columns = [ledger[name].to_pylist() for name in ("position", "shard_id", "sequence_number", "line")]
    for position, shard, number, line in zip(*columns, strict=True):
        if number is None:
            assert events[position][0] not in kept
        else:
            where, data = kinesis.kept[int(number) - 1]
            assert (where, dict(split_events(data))[line]) == (shard, events[position][0])
    # Every try is accounted for: it was acknowledged or refused, and refused ones were sent again or given up.
    assert sum(ledger["tries"].to_pylist()) == totals.acknowledged + totals.refused.total()
    outcomes = zip(ledger["sequence_number"].to_pylist(), ledger["tries"].to_pylist(), strict=True)
    assert totals.given_up.total() == sum(number is None and tries > 0 for number, tries in outcomes)


def test_sent_at_is_the_time_of_the_first_call(tmp_path: Path) -> None:
    kinesis = FakeKinesis(lambda call, _entries: {0, 1} if call == 1 else set())
    ledger = Delivering(kinesis, tmp_path).send(make_events(3, keys=1)).ledger
    first = ledger["sent_at"].to_pylist()
    assert len(set(first)) == 1
    assert ledger["tries"].to_pylist() == [2, 2, 1]
    assert [at > sent for at, sent in zip(ledger["acknowledged_at"].to_pylist(), first, strict=True)] == [
        True,
        True,
        False,
    ]


def test_a_ledger_that_was_cut_off_gives_what_was_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "lane-0.arrows"
    with LedgerWriter(path) as ledger:
        for number in range(3):
            entry = Entry(0, b"x", "k", None, [2 * number, 2 * number + 1], [0.0, 0.0], 2, tries=1, sent_at=5.0)
            ledger.acknowledge(entry, "shardId-0", str(number), 6.0)
            ledger.flush()
    whole = read_ledger([path])
    assert whole.schema == LEDGER
    assert whole["position"].to_pylist() == [0, 1, 2, 3, 4, 5]
    assert whole["line"].to_pylist() == [1, 2, 1, 2, 1, 2]
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * 0.8)])
    assert read_ledger([path])["position"].to_pylist() in ([0, 1], [0, 1, 2, 3])
    path.write_bytes(b"")
    assert len(read_ledger([path])) == 0
