"""What a million events cost on Kinesis: as the run sent them, and as they would cost sent the other way.

On-demand bills what is written, each record rounded up to 1 KB, what is read, and the stream by the hour. Provisioned
bills shards by the hour and each begun 25 KB of a record; reading is free. One consumer reads everything once, and
records are stored for 24 hours, which both modes include. Prices are data: `prices.json` says where from and when.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from producers.errors import ProducerError
from producers.report.totals import KB, UNIT_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

GB: Final = 2**30
MILLION: Final = 1_000_000
SHARD_BYTES_S: Final = 2**20
SHARD_RECORDS_S: Final = 1_000
PRICE_NAMES: Final = (
    "on_demand_stream_hour",
    "on_demand_written_gb",
    "on_demand_read_gb",
    "provisioned_shard_hour",
    "provisioned_million_payload_units",
)


@dataclass(frozen=True)
class Prices:
    """A price list.

    Attributes:
        region: AWS region it holds for.
        currency: Of every amount.
        as_of: Date from which the prices are.
        read: Date on which they were read there.
        note: What to know before trusting it.
        rules_source: Page that states how use is counted.
        prices: Per name of `PRICE_NAMES`: amount, unit, source, as_of.
    """

    region: str
    currency: str
    as_of: str
    read: str
    note: str
    rules_source: str
    prices: dict[str, dict[str, Any]]

    def amount(self, name: str) -> float:
        """Return a price."""
        return float(self.prices[name]["amount"])

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


def load_prices(path: Path | None = None, names: Sequence[str] = ()) -> Prices:
    """Read a price list, by default the one that comes with the package.

    Args:
        path: Another price list.
        names: Prices that it has to hold beside those of Kinesis.

    Raises:
        ProducerError: The file is no price list.
    """
    needed = (*PRICE_NAMES, *names)
    source = path if path is not None else resources.files("producers.report") / "prices.json"
    try:
        prices = Prices(**json.loads(source.read_text(encoding="utf-8")))
        for name in needed:
            prices.amount(name)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ProducerError(
            expected=f"a price list with the prices {', '.join(needed)}",
            found=f"{source}: {type(error).__name__}: {error}",
            do="Copy producers/report/prices.json and change the amounts.",
        ) from error
    return prices


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a stream takes in, by its sums over a run.

    Attributes:
        events: Events acknowledged.
        records: Kinesis records that carried them.
        size: Bytes of these records.
        billed_kb: The same, each record rounded up to 1 KB.
        payload_units: The same in begun units of 25 KB.
        seconds: Time it took.
    """

    events: int
    records: float
    size: float
    billed_kb: float
    payload_units: float
    seconds: float

    @property
    def shards(self) -> float:
        """Shards that this load fills."""
        return max(self.size / SHARD_BYTES_S, self.records / SHARD_RECORDS_S) / self.seconds

    @property
    def is_aggregated(self) -> bool:
        """Records carry more than one event on average."""
        return self.records < self.events

    def aggregated(self) -> Load:
        """Return the same events as JSON lines in records of 25 KB, one line feed more for each."""
        line = self.size / self.events + 1
        per_record = max(math.floor(UNIT_BYTES / line), 1)
        records = self.events / per_record
        return Load(
            events=self.events,
            records=records,
            size=self.events * line,
            billed_kb=records * math.ceil(per_record * line / KB),
            payload_units=records * math.ceil(per_record * line / UNIT_BYTES),
            seconds=self.seconds,
        )

    def plain(self) -> Load:
        """Return the same events in a record each, all of the mean size."""
        size = self.size / self.events
        return Load(
            events=self.events,
            records=self.events,
            size=self.size,
            billed_kb=self.events * math.ceil(size / KB),
            payload_units=self.events * math.ceil(size / UNIT_BYTES),
            seconds=self.seconds,
        )


@dataclass(frozen=True, kw_only=True)
class CostLine:
    """Cost of a million events in one mode.

    Attributes:
        mode: on-demand or provisioned.
        layout: plain or aggregated.
        as_run: This is how the run sent them; otherwise it is computed from their mean size.
        sizing: "at this load" pays for what stands ready during it, "fully used" for no idle capacity.
        write: Price of writing a million events.
        read: Price of reading them once.
        capacity: Price of the stream or the shards meanwhile.
        total: The sum.
        shards: Shards needed at this load; None where Kinesis chooses them.
    """

    mode: str
    layout: str
    as_run: bool
    sizing: str
    write: float
    read: float
    capacity: float
    total: float
    shards: int | None


def estimate_costs(load: Load, prices: Prices) -> list[CostLine]:
    """Return the cost of a million events in every mode, layout and sizing; empty if nothing was acknowledged."""
    if not load.events or load.seconds <= 0:
        return []
    layouts = {True: load, False: load.plain()} if load.is_aggregated else {True: load.aggregated(), False: load}
    lines: list[CostLine] = []
    for aggregated in (load.is_aggregated, not load.is_aggregated):
        one = layouts[aggregated]
        for sizing in ("at this load", "fully used"):
            lines += [
                _line(mode, one, prices, aggregated=aggregated, as_run=one is load, sizing=sizing)
                for mode in ("on-demand", "provisioned")
            ]
    return lines


def _line(mode: str, load: Load, prices: Prices, *, aggregated: bool, as_run: bool, sizing: str) -> CostLine:
    scale = MILLION / load.events
    hours = load.seconds / 3600 * scale
    idle = sizing == "at this load"
    shards: int | None = None
    if mode == "on-demand":
        write = load.billed_kb * KB / GB * scale * prices.amount("on_demand_written_gb")
        read = load.size / GB * scale * prices.amount("on_demand_read_gb")
        capacity = hours * prices.amount("on_demand_stream_hour") if idle else 0.0
    else:
        write = load.payload_units / MILLION * scale * prices.amount("provisioned_million_payload_units")
        read = 0.0
        # A rate of a whole number of shards shall not need one more by the last digit of a float.
        shards = max(math.ceil(round(load.shards, 6)), 1) if idle else None
        capacity = (load.shards if shards is None else shards) * hours * prices.amount("provisioned_shard_hour")
    return CostLine(
        mode=mode,
        layout="aggregated" if aggregated else "plain",
        as_run=as_run,
        sizing=sizing,
        write=write,
        read=read,
        capacity=capacity,
        total=write + read + capacity,
        shards=shards,
    )
