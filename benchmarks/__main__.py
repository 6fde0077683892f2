"""`python -m benchmarks [NAME] [--json]`: run one benchmark, or all of them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial

from benchmarks.batch_kpis import measure_kpis
from benchmarks.catching_up import measure_catching_up
from benchmarks.delivering import measure_delivering
from benchmarks.generating import measure_generating
from benchmarks.ingesting import measure_ingesting
from benchmarks.merging import measure_merging
from benchmarks.parsing import measure_parsing


def measure_producer() -> dict[str, float]:
    """Return what making and delivering events costs."""
    return measure_generating() | measure_delivering()


BENCHMARKS: dict[str, Callable[[], dict[str, float]]] = {
    "catching_up": measure_catching_up,
    "ingest": measure_ingesting,
    "merging": measure_merging,
    "parsing": measure_parsing,
    "producer": measure_producer,
}


def main() -> None:
    """Print each benchmark's figures: one JSON object on one line, or a line a figure."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("name", nargs="?", choices=sorted([*BENCHMARKS, "batch"]))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--listens", type=int, default=1_000_000, help="listens a day of the benchmark `batch`")
    chosen = parser.parse_args()
    benchmarks: dict[str, Callable[[], dict[str, float]]] = {
        **BENCHMARKS,
        "batch": partial(measure_kpis, chosen.listens),
    }
    figures: dict[str, float] = {}
    for name in [chosen.name] if chosen.name else sorted(benchmarks):
        figures |= benchmarks[name]()
    lines = [json.dumps(figures)] if chosen.json else [f"{name:40} {value:,.2f}" for name, value in figures.items()]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
