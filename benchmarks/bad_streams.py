"""What bad events cost ingestion at its full rate, from Kinesis to files: good ones against mixtures, on `local[2]`."""

from __future__ import annotations

import statistics
from typing import Final

from benchmarks.bad_events import BAD_SHARES, mixed
from benchmarks.draining import Bench, drained
from benchmarks.ingest_streams import EVENTS_A_RECORD, event, filled
from benchmarks.sessions import session_on_cloud
from local_cloud.options import CloudOptions

EVENTS: Final = 1_200_000
ROUNDS: Final = 5


def measure_bad_streams() -> dict[str, float]:
    """Return what a stream takes of which some events are bad, over what good ones of as many bytes take.

    `ingest_bad_over_good_N` is by the clock, `ingest_cpu_bad_over_good_N` by processor time without the emulator's,
    both from the start of the query until the stream is drained. Medians of rounds, in which all follow each other.
    """
    good = [event(number) for number in range(EVENTS)]
    sizes, streams = {}, {}
    with session_on_cloud(CloudOptions()) as (cloud, spark, folder):
        bench = Bench(cloud, spark, folder)
        for share in (0, *BAD_SHARES):
            events = mixed(good, share)
            sizes[share] = sum(map(len, events))
            streams[share] = filled(cloud, events, EVENTS_A_RECORD)
            drained(bench, streams[share])
        rounds = [{share: drained(bench, stream) for share, stream in streams.items()} for _ in range(ROUNDS)]
    figures = {}
    for share in BAD_SHARES:
        added = sizes[share] / sizes[0]
        by_clock = statistics.median(one[share].seconds / one[0].seconds for one in rounds)
        by_processor = statistics.median(one[share].cpu_seconds / one[0].cpu_seconds for one in rounds)
        figures[f"ingest_bad_over_good_{share}"] = round(by_clock / added, 3)
        figures[f"ingest_cpu_bad_over_good_{share}"] = round(by_processor / added, 3)
    return figures
