"""`python -m benchmarks [NAME] [--json]`: run one benchmark, or all of them."""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial

from benchmarks.bad_events import measure_bad_events
from benchmarks.bad_streams import measure_bad_streams
from benchmarks.batch_kpis import measure_kpis
from benchmarks.catching_up import measure_catching_up
from benchmarks.delivering import measure_delivering
from benchmarks.generating import measure_generating
from benchmarks.ingesting import measure_ingesting
from benchmarks.large_day import measure_large_day
from benchmarks.merging import measure_merging
from benchmarks.parsing import measure_parsing
from benchmarks.processes import Measure, measured
from benchmarks.serving_items import measure_serving_items


def benchmarks(listens: int) -> dict[str, tuple[Measure, ...]]:
    """Return the parts of each benchmark; `listens` is the size of a large day."""
    return {
        "bad_events": (measure_bad_events, measure_bad_streams),
        "batch": (partial(measure_merging, listens // 10), partial(measure_kpis, listens), measure_serving_items),
        "catching_up": (measure_catching_up,),
        "ingest": (measure_ingesting,),
        "large_day": (partial(measure_large_day, listens),),
        "parsing": (measure_parsing,),
        "producer": (measure_generating, measure_delivering),
    }


def main() -> None:
    """Print each benchmark's figures: one JSON object on one line, or a line a figure."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("name", nargs="?", choices=sorted(benchmarks(0)))
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--listens", type=int, default=1_000_000, help="listens of a large day, in `batch` and `large_day`"
    )
    chosen = parser.parse_args()
    known = benchmarks(chosen.listens)
    figures: dict[str, float] = {}
    for name in [chosen.name] if chosen.name else sorted(known):
        for measure in known[name]:
            figures |= measured(measure)
    lines = [json.dumps(figures)] if chosen.json else [f"{name:40} {value:,.2f}" for name, value in figures.items()]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
