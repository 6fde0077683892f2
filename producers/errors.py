"""Errors of this room: input that can't be produced from, and a delivery that gave up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakehouse.errors import ListenlakeError

if TYPE_CHECKING:
    from producers.delivery import DeliveryReport


class ProducerError(ListenlakeError):
    """Listens can't be made, read or sent as asked."""


class LaneError(ProducerError):
    """One lane of a delivery gave up."""


class DeliveryError(ProducerError):
    """Delivery gave up before every record was acknowledged.

    Attributes:
        report: What was acknowledged until then, and what was not.
    """

    def __init__(self, report: DeliveryReport, *, expected: str, found: str, do: str) -> None:
        """Compose the message and keep the account of what was sent."""
        account = (
            f"{report.acknowledged} of {report.sent} events taken up are acknowledged, {report.failed} are not, "
            f"{report.made - report.sent} were never sent"
        )
        super().__init__(expected=expected, found=f"{found}: {account}", do=do)
        self.report = report
