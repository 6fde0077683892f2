"""The synthetic stream: same bytes for the same seed, and every fault judged by plain Python from the bytes alone."""

from __future__ import annotations

import json
import re
import uuid
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple

import pytest

from lakehouse.events import INGEST_REASONS, derive_event_id
from producers.catalog import Catalog, build_catalog
from producers.errors import ProducerError
from producers.faults import FaultRates
from producers.malformed import MALFORMATIONS
from producers.records import Lanes
from producers.synthetic import SyntheticSettings, SyntheticStream

START = date(2024, 6, 24)
ARRIVAL = datetime(2024, 6, 28, tzinfo=UTC)
TYPES = {"user_id": int, "track_id": str, "listen_time": str, "event_id": str, "played_ms": int, "session_id": str}


def judge(payload: bytes) -> tuple[str, dict[str, Any]]:  # noqa: PLR0911
    """Judge by domain.md alone: the reason, or "" and the parsed event."""
    if len(payload) > 65_536:
        return "oversize", {}
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError:
        return "invalid_utf8", {}
    try:
        event = json.loads(text)
    except ValueError:
        return "invalid_json", {}
    if not isinstance(event, dict):
        return "invalid_json", {}
    if any(event.get(name) is None for name in ("user_id", "track_id", "listen_time")):
        return "missing_field", {}
    if any(name in event and type(event[name]) is not kind for name, kind in TYPES.items()):
        return "wrong_type", {}
    if not 1 <= len(event["track_id"]) <= 64 or len(event.get("event_id", "")) > 64:
        return "invalid_value", {}
    pattern = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?"
    try:
        moment = datetime.fromisoformat(event["listen_time"])
    except ValueError:
        return "invalid_time", {}
    if not re.fullmatch(pattern, event["listen_time"]):
        return "invalid_time", {}
    moment = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    if moment.year < 2000 or moment > ARRIVAL + timedelta(hours=24):
        return "impossible_time", {}
    event["listen_time"] = moment
    event.setdefault("event_id", derive_event_id(event["user_id"], event["track_id"], moment))
    return "", event


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return build_catalog(3)


@pytest.fixture(scope="module")
def stream(catalog: Catalog) -> SyntheticStream:
    return SyntheticStream(catalog, SyntheticSettings(seed=11, events=30_000, start=START))


class Record(NamedTuple):
    payload: bytes
    partition_key: str


def collect(stream: SyntheticStream) -> list[Record]:
    records: list[Record] = []
    for chunk in stream.chunks(Lanes()):
        assert chunk.lane == 0
        assert chunk.positions == list(range(len(records), len(records) + len(chunk.payloads)))
        records += map(Record, chunk.payloads, chunk.keys)
    return records


@pytest.fixture(scope="module")
def records(stream: SyntheticStream) -> list[Record]:
    return collect(stream)


def test_same_seed_same_bytes_other_seed_other_bytes(
    catalog: Catalog, stream: SyntheticStream, records: list[Record]
) -> None:
    again = SyntheticStream(catalog, SyntheticSettings(seed=11, events=30_000, start=START))
    assert collect(again) == collect(again) == records
    assert again.facts().equals(stream.facts())
    other = SyntheticStream(catalog, SyntheticSettings(seed=12, events=30_000, start=START))
    assert not {r.payload for r in collect(other) if len(r.payload) > 100} & {r.payload for r in records}


def test_every_record_gets_the_outcome_it_is_sent_for(
    catalog: Catalog, stream: SyntheticStream, records: list[Record]
) -> None:
    users, tracks = set(catalog.user_ids), set(catalog.track_ids)
    first: dict[tuple[str, datetime], tuple[int, str]] = {}
    facts = stream.facts().to_pylist()
    assert len(facts) == len(records) == len(stream) == 30_000
    for record, fact in zip(records, facts, strict=True):
        reason, event = judge(record.payload)
        if not reason:
            who = (event["user_id"], event["track_id"])
            key = (event["event_id"], event["listen_time"])
            micros = (event["listen_time"] - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
            assert (*who, event["event_id"], micros) == tuple(
                fact[name] for name in ("user_id", "track_id", "event_id", "listen_time")
            )
            assert record.partition_key == str(event["user_id"])
            if key in first:
                reason = "duplicate" if first[key] == who else "conflicting_duplicate"
            elif event["user_id"] not in users:
                reason = "unknown_user"
            elif event["track_id"] not in tracks:
                reason = "unknown_track"
            else:
                reason = "accepted"
            first.setdefault(key, who)
        else:
            assert fact["user_id"] is fact["event_id"] is fact["track_id"] is fact["listen_time"] is None
        assert reason == fact["expected"], fact["kind"]


def test_every_kind_occurs_at_its_rate(stream: SyntheticStream) -> None:
    facts = stream.facts().to_pylist()
    expected = Counter(fact["expected"] for fact in facts)
    assert set(INGEST_REASONS) <= set(expected)
    assert sum(expected[reason] for reason in INGEST_REASONS) == 150
    kinds = Counter(fact["kind"] for fact in facts)
    wanted = {"late": 600, "out_of_order": 150, "unknown_user": 60, "unknown_track": 60}
    wanted |= {"duplicate": 240, "rephrased_duplicate": 60, "conflicting_duplicate": 30}
    assert {kind: kinds[kind] for kind in wanted} == wanted
    assert set(kinds) - set(wanted) - {"listen"} == {way.name for way in MALFORMATIONS}
    reasons = {way.name: way.reason for way in MALFORMATIONS}
    assert all(fact["expected"] == reasons.get(fact["kind"], fact["expected"]) for fact in facts)
    of_reason = {reason: expected[reason] for reason in ("oversize", "invalid_utf8")}
    assert of_reason == {"oversize": 3, "invalid_utf8": 12}


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    names = ("event_id", "user_id", "track_id", "listen_time")
    return [one[name] for name in names] == [other[name] for name in names]


def test_duplicates_are_the_same_bytes_and_conflicts_come_well_after_in_the_same_shard(
    stream: SyntheticStream, records: list[Record]
) -> None:
    facts = stream.facts().to_pylist()
    first: dict[str, int] = {}
    for place, fact in enumerate(facts):
        if fact["kind"] in ("duplicate", "rephrased_duplicate", "conflicting_duplicate"):
            original = first[fact["event_id"]]
            assert facts[original]["kind"] == "listen"
            assert records[original].partition_key == records[place].partition_key
            if fact["kind"] == "duplicate":
                assert records[original].payload == records[place].payload
            elif fact["kind"] == "rephrased_duplicate":
                assert records[original].payload != records[place].payload
                assert same(facts[original], fact)
            else:
                assert place - original >= 2_000
                assert fact["track_id"] != facts[original]["track_id"]
        elif fact["event_id"] is not None:
            first[fact["event_id"]] = place


def test_late_listens_are_late_and_the_rest_is_in_order_over_three_dates(stream: SyntheticStream) -> None:
    facts = stream.facts().to_pylist()
    in_order = [fact["listen_time"] for fact in facts if fact["kind"] in ("listen", "unknown_user", "unknown_track")]
    second = 1_000_000  # space-separated times are cut to the second
    assert all(later >= earlier - second for earlier, later in pairwise(in_order))
    dates = {datetime.fromtimestamp(micros / 1e6, UTC).date() for micros in in_order}
    assert dates >= {START, START + timedelta(days=1), START + timedelta(days=2)}
    midnight = datetime(2024, 6, 24, tzinfo=UTC)
    assert timedelta(0) <= datetime.fromtimestamp(in_order[0] / 1e6, UTC) - midnight < timedelta(minutes=15)
    end = midnight + timedelta(days=3)
    assert sum(micros / 1e6 >= end.timestamp() for micros in in_order) < 300
    assert in_order[-1] / 1e6 < (end + timedelta(hours=12)).timestamp()
    clock, delays = 0, []
    for fact in facts:
        if fact["kind"] == "late":
            delays.append((clock - fact["listen_time"]) / 1e6)
        elif fact["kind"] == "listen":
            clock = fact["listen_time"]
    assert sum(delay > 60 for delay in delays) >= 590  # around midnight minutes pass without a listen
    assert sum(delay > 86_400 for delay in delays) > 20
    assert sum(delay < 3_600 for delay in delays) > 20


def test_other_wordings_occur_and_ids_are_uuid_version_7_of_the_listen_time(
    stream: SyntheticStream, records: list[Record]
) -> None:
    texts = [
        record.payload.decode()
        for record, fact in zip(records, stream.facts().to_pylist(), strict=True)
        if fact["kind"] == "listen"
    ]
    for pattern in (r'"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"', r"\.\d{3}[+-]\d\d:\d\d", r'^\{"user_id"', r"device_model"):
        assert 50 < sum(bool(re.search(pattern, text)) for text in texts) < 400, pattern
    for fact in stream.facts().to_pylist()[:500]:
        identity = uuid.UUID(fact["event_id"]) if fact["event_id"] else uuid.UUID(int=0)
        if identity.version == 7:
            assert identity.int >> 80 == fact["listen_time"] // 1_000
            assert identity.variant == uuid.RFC_4122
        else:
            assert identity.version in (5, None)


def test_activity_and_popularity_are_skewed(stream: SyntheticStream) -> None:
    facts = stream.facts().to_pylist()
    plays = sorted(Counter(fact["user_id"] for fact in facts if fact["user_id"]).values(), reverse=True)
    assert 0.2 < sum(plays[:60]) / sum(plays) < 0.5
    tracks = [count for _, count in Counter(fact["track_id"] for fact in facts).most_common()]
    assert tracks[1] > 10 * tracks[2_000]


@pytest.mark.parametrize("events", [1, 20, 999, 1_000])
def test_small_streams_have_exactly_the_asked_length(catalog: Catalog, events: int) -> None:
    stream = SyntheticStream(catalog, SyntheticSettings(seed=1, events=events, start=START, dates=1))
    assert len(stream) == len(collect(stream)) == stream.facts().num_rows == events


def test_rates_that_leave_nothing_to_repeat_are_refused(catalog: Catalog) -> None:
    rates = FaultRates(duplicate=0.9)
    with pytest.raises(ProducerError, match="leave enough plain listens"):
        SyntheticStream(catalog, SyntheticSettings(seed=1, events=2_000, start=START, rates=rates))
