"""How long a listen takes: sent → in `processed-streams/` → in DynamoDB, from what the stages recorded."""

from __future__ import annotations

import io
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from lakehouse import layout
from lakehouse.batches import Manifest
from listenlake.pipeline import Pipeline


def measure_freshness(pipeline: Pipeline, sent: pa.Table) -> dict[str, dict[str, float]]:
    """Measure every accepted event.

    Args:
        pipeline: A quiet pipeline.
        sent: The truth's records: `shard_id`, `sequence_number`, `line`, `sent_at` in epoch seconds.

    Returns:
        `p50`, `p95` and `max` in seconds, of `processed_seconds` and `served_seconds`.
    """
    served_at = _served_at(pipeline)
    processed, served = [np.empty(0)], [np.empty(0)]
    for batch in pipeline.batches():
        moments = _sent_moments(pipeline, batch, sent)
        processed.append(batch.committed_at.timestamp() - moments)
        if batch.id.path in served_at:
            served.append(served_at[batch.id.path] - moments)
    return {
        "processed_seconds": _quantiles(np.concatenate(processed)),
        "served_seconds": _quantiles(np.concatenate(served)),
    }


def _sent_moments(pipeline: Pipeline, batch: Manifest, sent: pa.Table) -> npt.NDArray[np.float64]:
    """Return when the events of a batch were sent, in epoch seconds."""
    place = ["shard_id", "sequence_number", "line"]
    moments = [np.empty(0)]
    for file in batch.files:
        key = layout.ARCHIVES + file.key.removeprefix(layout.PROCESSED)
        records = pq.read_table(io.BytesIO(pipeline.read(key)), columns=place)
        joined = records.join(sent.select([*place, "sent_at"]), keys=place, join_type="inner")
        moments.append(joined["sent_at"].to_numpy())
    return np.concatenate(moments)


def _served_at(pipeline: Pipeline) -> dict[str, float]:
    """Return, by batch, when the first KPI run that covers it had served: epoch seconds."""
    runs = [report for report in pipeline.reports(layout.KPI_JOB) if "served_at" in report]
    covered: dict[str, float] = {}
    for merge in pipeline.reports(layout.TRANSFORM_JOB):
        later = [_moment(run["served_at"]) for run in runs if run["table_version"] >= merge.get("table_version", 0)]
        for batch in merge.get("batches", []):
            if later:
                covered[batch] = min(later)
    return covered


def _moment(text: Any) -> float:
    return datetime.fromisoformat(text).timestamp()


def _quantiles(seconds: npt.NDArray[np.float64]) -> dict[str, float]:
    if not seconds.size:
        return {}
    p50, p95 = np.quantile(seconds, [0.5, 0.95])
    return {"p50": round(float(p50), 1), "p95": round(float(p95), 1), "max": round(float(seconds.max()), 1)}
