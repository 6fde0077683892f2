"""The truth manifest on disk: written by a delivery, read by whoever compares the pipeline with it.

manifest.json     source, stream, settings, counts, delivery figures, names of the other files; written last
kpis.json         genres with their top songs, and top genres, of every listen date
records.parquet   one row per event sent: outcome, place in the stream (shard, sequence number, line), times, calls
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow.parquet as pq

from producers.errors import ProducerError
from producers.truth import Counts, Truth

if TYPE_CHECKING:
    from pathlib import Path

FORMAT: Final = 2
MANIFEST: Final = "manifest.json"
KPIS: Final = "kpis.json"
RECORDS: Final = "records.parquet"


@dataclass(frozen=True, kw_only=True)
class TruthManifest:
    """A delivery and what must result from it.

    Attributes:
        source: `synthetic` or `replay`.
        stream: The stream sent to.
        settings: What reproduces the delivery, seed included.
        delivery: Figures of the delivery, as `DeliveryReport.summary` gives them.
        truth: What must result.
    """

    source: str
    stream: str
    settings: dict[str, Any]
    delivery: dict[str, Any]
    truth: Truth


def write_manifest(manifest: TruthManifest, directory: Path) -> None:
    """Write the three files; while they change there is no `manifest.json`."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / MANIFEST).unlink(missing_ok=True)
    truth = manifest.truth
    pq.write_table(truth.records, directory / RECORDS, compression="zstd")
    _write_json(directory / KPIS, {"genres": truth.genres, "top_genres": truth.top_genres})
    head = {
        "format": FORMAT,
        "source": manifest.source,
        "stream": manifest.stream,
        "settings": manifest.settings,
        "counts": asdict(truth.counts),
        "delivery": manifest.delivery,
        "files": {"kpis": KPIS, "records": RECORDS},
    }
    _write_json(directory / MANIFEST, head)


def read_manifest(directory: Path) -> TruthManifest:
    """Read what `write_manifest` wrote.

    Raises:
        ProducerError: There is no manifest, or one of another format.
    """
    path = directory / MANIFEST
    head = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if head.get("format") != FORMAT:
        raise ProducerError(
            expected=f"a truth manifest of format {FORMAT} at {path}",
            found=f"format {head.get('format')}" if head else "no such file",
            do="Run `listenlake produce` with that directory first.",
        )
    kpis = json.loads((directory / head["files"]["kpis"]).read_text(encoding="utf-8"))
    return TruthManifest(
        source=head["source"],
        stream=head["stream"],
        settings=head["settings"],
        delivery=head["delivery"],
        truth=Truth(
            counts=Counts(**head["counts"]),
            genres=kpis["genres"],
            top_genres=kpis["top_genres"],
            records=pq.read_table(directory / head["files"]["records"]),
        ),
    )


def _write_json(path: Path, value: dict[str, Any]) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")
    part.replace(path)
