"""What a fault proxy is to do, and to whom: the text of `--chaos` in, a fate for each PutRecords call out.

The fate of a call hangs on the seed and on the call's number alone, so the same calls meet the same trouble.
"""

from __future__ import annotations

import random
import re
import threading
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from producers.errors import ProducerError

if TYPE_CHECKING:
    from collections.abc import Callable

_SHARES: Final = ("throttle", "partial", "timeout")
_SHARE: Final = re.compile(r"([0-9]+(?:[.][0-9]+)?)%")
_SPAN: Final = r"([0-9]+(?:[.][0-9]+)?)(ms|s|m)"
_OUTAGE: Final = re.compile(f"{_SPAN}@{_SPAN}")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0}


@dataclass(frozen=True)
class Outage:
    """A time in which nobody answers.

    Attributes:
        start: Seconds after the first PutRecords call.
        seconds: How long.
    """

    start: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Chaos:
    """The trouble to make; shares are between 0 and 1.

    Attributes:
        throttle: Share of PutRecords calls that are refused whole.
        partial: Share of entries that are refused inside an answer, in calls that are answered.
        timeout: Share of PutRecords calls that never get an answer; about half of them are delivered all the same.
        outages: When connections are closed without an answer.
    """

    throttle: float = 0.0
    partial: float = 0.0
    timeout: float = 0.0
    outages: tuple[Outage, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Chaos:
        """Read `throttle=5%,partial=2%,timeout=1%,outage=10s@30s`; every part may be left out, outages may be many.

        Raises:
            ProducerError: The text says something else.
        """
        shares: dict[str, float] = {}
        outages: list[Outage] = []
        for part in text.split(","):
            name, _, value = part.strip().partition("=")
            if name == "outage" and (found := _OUTAGE.fullmatch(value)):
                seconds, unit, start, start_unit = found.groups()
                outages.append(Outage(float(start) * _SECONDS[start_unit], float(seconds) * _SECONDS[unit]))
            elif name in _SHARES and name not in shares and (found := _SHARE.fullmatch(value)):
                shares[name] = float(found[1]) / 100
            else:
                raise _unreadable(part)
        chaos = cls(**shares, outages=tuple(outages))
        if max(chaos.partial, chaos.throttle + chaos.timeout) > 1:
            raise ProducerError(
                expected="partial up to 100%, and throttle and timeout together up to 100% of the calls",
                found=text,
                do="Lower them.",
            )
        return chaos


class Fate(Enum):
    """What becomes of one PutRecords call."""

    PASSED = auto()
    THROTTLED = auto()
    SWALLOWED = auto()
    """Never delivered, never answered."""
    UNANSWERED = auto()
    """Delivered, never answered."""
    REFUSED = auto()
    """An outage."""


@dataclass(frozen=True, kw_only=True)
class ChaosCounts:
    """What was done. Calls are PutRecords calls; each is in exactly one of the next five.

    Attributes:
        calls: All that came.
        passed: Handed on, and the answer handed back.
        throttled: Answered with a throttle.
        timeouts: Left without an answer.
        refused_in_outage: Cut off by an outage.
        failed_upstream: Handed on, and the endpoint gave no answer.
        partial_entries: Entries refused inside the answer to a call that passed.
        delivered_without_answer: Of the timeouts, those that the endpoint took.
    """

    calls: int = 0
    passed: int = 0
    throttled: int = 0
    timeouts: int = 0
    refused_in_outage: int = 0
    failed_upstream: int = 0
    partial_entries: int = 0
    delivered_without_answer: int = 0


class ChaosPlan:
    """Says what becomes of each call, and keeps count. Safe for threads."""

    def __init__(self, chaos: Chaos, seed: int, clock: Callable[[], float]) -> None:
        """Begin; outages are timed from the first call on, by `clock` in seconds."""
        self._chaos = chaos
        self._seed = seed
        self._clock = clock
        self._began: float | None = None
        self._counts = ChaosCounts()
        self._lock = threading.Lock()

    @property
    def counts(self) -> ChaosCounts:
        """What was done until now."""
        with self._lock:
            return self._counts

    @property
    def refuses_entries(self) -> bool:
        """Tell whether any entry is ever refused."""
        return self._chaos.partial > 0

    def count(self, **more: int) -> None:
        """Add to the counts."""
        with self._lock:
            self._counts = replace(self._counts, **{name: getattr(self._counts, name) + n for name, n in more.items()})

    def in_outage(self) -> bool:
        """Tell whether nobody answers now."""
        now = self._clock()
        if self._began is None:
            return False
        return any(0 <= now - self._began - outage.start < outage.seconds for outage in self._chaos.outages)

    def begin_call(self) -> tuple[Fate, random.Random]:
        """Take the next call; the second value decides about its entries."""
        with self._lock:
            number = self._counts.calls
            self._counts = replace(self._counts, calls=number + 1)
            if self._began is None:
                self._began = self._clock()
        rng = random.Random(f"{self._seed}:{number}")  # noqa: S311 - no secret
        draw, delivered = rng.random(), rng.random() < 0.5
        if self.in_outage():
            return Fate.REFUSED, rng
        if draw < self._chaos.throttle:
            return Fate.THROTTLED, rng
        if draw < self._chaos.throttle + self._chaos.timeout:
            return (Fate.UNANSWERED if delivered else Fate.SWALLOWED), rng
        return Fate.PASSED, rng

    def refused_entries(self, entries: int, rng: random.Random) -> list[int]:
        """Choose the entries of a call to refuse, by place."""
        share = self._chaos.partial
        return [place for place in range(entries) if rng.random() < share]


def _unreadable(part: str) -> ProducerError:
    return ProducerError(
        expected="trouble as in throttle=5%,partial=2%,timeout=1%,outage=10s@30s, each share once",
        found=part.strip() or "nothing",
        do="Write shares in per cent, and an outage as how long @ when, in ms, s or m after the first call.",
    )
