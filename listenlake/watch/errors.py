"""What ends a watch."""

from __future__ import annotations

from lakehouse.errors import ListenlakeError


class WatchError(ListenlakeError):
    """The stream can't be watched, or no longer."""


class WatchBusyError(WatchError):
    """Another watch works in the folder."""


class KinesisClientMissingError(WatchError):
    """The Amazon Kinesis Client is not installed."""

    def __init__(self) -> None:
        """Compose the message."""
        super().__init__(
            expected="the Amazon Kinesis Client (amazon_kclpy) for the live check",
            found="it is not installed",
            do="Install the extra: pip install 'listenlake[kcl]'.",
        )
