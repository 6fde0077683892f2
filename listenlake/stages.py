"""Rows and seconds of each stage of a pipeline, from what the stages recorded."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from typing import Any

import pyarrow.compute as pc

from lakehouse import layout
from listenlake.pipeline import Pipeline
from producers.manifest import TruthManifest


def describe_stages(pipeline: Pipeline, manifest: TruthManifest) -> list[dict[str, Any]]:
    """Return rows and seconds of each stage."""
    batches = pipeline.batches()
    merges = [report for report in pipeline.reports(layout.TRANSFORM_JOB) if report.get("batches_merged")]
    kpis = [report for report in pipeline.reports(layout.KPI_JOB) if "validation" in report]
    counts = manifest.truth.counts
    return [
        {
            "stage": "produce",
            "runs": 1,
            "rows_in": counts.sent,
            "rows_out": counts.acknowledged,
            "seconds": round(float(manifest.delivery["seconds"]), 1),
        },
        {
            "stage": layout.INGEST_JOB,
            "runs": len(batches),
            "rows_in": sum((one.rows or 0) + sum(one.rejected.values()) for one in batches),
            "rows_out": sum(one.rows or 0 for one in batches),
            # From the first record sent to the last batch committed: the start of Spark is part of it.
            "seconds": _span(_first_sent(manifest), batches[-1].committed_at) if batches else 0.0,
        },
        {
            "stage": layout.TRANSFORM_JOB,
            "runs": len(merges),
            "rows_in": sum(report["received"] for report in merges),
            "rows_out": sum(report["accepted"] for report in merges),
            "seconds": _seconds(merges),
        },
        {
            "stage": layout.KPI_JOB,
            "runs": len(kpis),
            "rows_in": sum(report["validation"]["total_rows"] for report in kpis),
            "rows_out": sum(sum(_written(report)) for report in kpis),
            "seconds": _seconds(kpis),
        },
    ]


def _first_sent(manifest: TruthManifest) -> datetime:
    return datetime.fromtimestamp(pc.min(manifest.truth.records["sent_at"]).as_py(), UTC)


def _written(report: dict[str, Any]) -> list[int]:
    return [writes.get("written", 0) for name, writes in report.items() if name.endswith("_served")]


def _seconds(reports: list[dict[str, Any]]) -> float:
    moments = [(report["started_at"], report["finished_at"]) for report in reports]
    return round(sum(_span(datetime.fromisoformat(a), datetime.fromisoformat(b)) for a, b in moments), 1)


def _span(begin: datetime, end: datetime) -> float:
    return round((end - begin).total_seconds(), 1)


def count_dropped(metrics: str) -> int:
    """Return how many listens validation has dropped, by the text of validation_metrics.csv."""
    lines = csv.DictReader(io.StringIO(metrics, newline=""))
    return sum(int(line["dropped_rows"]) for line in lines if line["mode"] == "incremental")
