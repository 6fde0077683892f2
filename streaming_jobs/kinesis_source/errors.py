"""What ends a query on this source."""

from __future__ import annotations

from lakehouse.errors import SourceError


class DataLossError(SourceError):
    """Records left the stream before they were read."""


class StreamUnreachableError(SourceError):
    """Kinesis refused or failed for longer than the source is willing to wait."""


class OvertakenError(SourceError):
    """Another attempt at a batch recorded other ends than those up to which this one has handed records on."""
