"""How fast synthetic listens are made and encoded, on one core."""

from __future__ import annotations

import statistics
import time
from datetime import date

from producers.catalog import build_catalog
from producers.synthetic import SyntheticSettings, SyntheticStream

EVENTS = 200_000
ROUNDS = 3


def measure_generating() -> dict[str, float]:
    """Return events a second, faults included, from the seed to the bytes; the median of three rounds."""
    catalog = build_catalog(1)
    settings = SyntheticSettings(seed=1, events=EVENTS, start=date(2024, 6, 25))
    rates = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        made = sum(1 for _ in SyntheticStream(catalog, settings).records())
        rates.append(made / (time.perf_counter() - began))
    return {"generate_events_per_s": round(statistics.median(rates), 1)}
