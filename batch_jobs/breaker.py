"""The breaker: a run whose input was mostly rejected ends before it merges, so that no KPI comes from half the data.

Flows in: the batches of a run and the outcomes of their deliveries, as counts. Flows out: nothing, or an error. Nothing
is lost by it: nothing was written, the batches stay where they are, and a run with a higher rate takes them. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from batch_jobs.enrichment import ACCEPTED, DUPLICATE
from lakehouse.batches import Manifest
from lakehouse.errors import BreakerError


@dataclass(frozen=True, kw_only=True)
class Breaker:
    """How much of the input may be rejected.

    Attributes:
        rate: Share of the input, 0 to 1, above which the run ends.
        minimum: Events of input below which the share says nothing.
    """

    rate: float
    minimum: int

    def check(self, manifests: Sequence[Manifest], outcomes: Mapping[str, int]) -> None:
        """Let a run go on, or end it.

        Args:
            manifests: The batches of the run; they tell what ingestion has rejected.
            outcomes: Deliveries by outcome of enrichment.

        Raises:
            BreakerError: More than the rate was rejected.
        """
        rejected = Counter({reason: rows for reason, rows in outcomes.items() if reason not in (ACCEPTED, DUPLICATE)})
        received = sum(outcomes.values())
        for manifest in manifests:
            rejected.update(manifest.rejected)
            received += sum(manifest.rejected.values())
        total = rejected.total()
        if received < self.minimum or total <= self.rate * received:
            return
        reasons = ", ".join(f"{reason} {rows:,}" for reason, rows in rejected.most_common())
        raise BreakerError(
            expected=f"at most {self.rate:.1%} of the input rejected",
            found=f"{total:,} of {received:,} events ({total / received:.1%}) in {len(manifests)} batches: {reasons}",
            do=(
                "Nothing was merged and every batch waits where it was. Repair the cause (users.csv, songs.csv, a "
                "producer), or accept the rejects by starting a run with a higher --breaker_rate."
            ),
        )
