"""What became of some records of a micro-batch, usually all of them: files, and an account by outcome. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from lakehouse.batches import BatchFile


@dataclass(frozen=True)
class Content:
    """The part of a batch that shares one outcome.

    Attributes:
        rows: Events.
        payload_bytes: Their bytes.
        oldest: Arrival of the oldest.
        late: How many came late, by the policy of the settings.
        future: How many came before their listen.
    """

    rows: int
    payload_bytes: int
    oldest: datetime
    late: int = 0
    future: int = 0

    def __add__(self, other: Content) -> Content:
        """Return both together."""
        return Content(
            rows=self.rows + other.rows,
            payload_bytes=self.payload_bytes + other.payload_bytes,
            oldest=min(self.oldest, other.oldest),
            late=self.late + other.late,
            future=self.future + other.future,
        )


@dataclass(frozen=True, kw_only=True)
class Part:
    """What became of some records.

    Attributes:
        listens: Parquet files of accepted listens.
        rejects: JSON-lines files of rejected records.
        contents: What there is of each reject reason; under None, of listens.
    """

    listens: tuple[BatchFile, ...] = ()
    rejects: tuple[BatchFile, ...] = ()
    contents: dict[str | None, Content]

    def __add__(self, other: Part) -> Part:
        """Return both together."""
        contents = dict(self.contents)
        for reason, content in other.contents.items():
            contents[reason] = contents[reason] + content if reason in contents else content
        return Part(listens=self.listens + other.listens, rejects=self.rejects + other.rejects, contents=contents)

    def to_json(self) -> str:
        """Return it as text, in which a task hands it to the driver."""
        contents = [
            [reason, {**asdict(content), "oldest": content.oldest.isoformat()}]
            for reason, content in self.contents.items()
        ]
        return json.dumps({"listens": _files(self.listens), "rejects": _files(self.rejects), "contents": contents})

    @classmethod
    def from_json(cls, text: str) -> Part:
        """Read what `to_json` wrote."""
        value: dict[str, Any] = json.loads(text)
        return cls(
            listens=tuple(BatchFile(**file) for file in value["listens"]),
            rejects=tuple(BatchFile(**file) for file in value["rejects"]),
            contents={
                reason: Content(**{**content, "oldest": datetime.fromisoformat(content["oldest"]).astimezone(UTC)})
                for reason, content in value["contents"]
            },
        )


def _files(files: Iterable[BatchFile]) -> list[dict[str, Any]]:
    return [asdict(file) for file in files]
