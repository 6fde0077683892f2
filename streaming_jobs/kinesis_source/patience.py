"""How fast a shard may be read, and how long to go on asking. Clock, sleep and chance are handed in. No AWS here.

Kinesis allows five GetRecords calls and 2 MB a second of each shard, for all its readers together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from streaming_jobs.kinesis_source.errors import StreamUnreachableError

T = TypeVar("T")

FIRST_PAUSE_SECONDS: Final = 0.2
LONGEST_PAUSE_SECONDS: Final = 5.0


class TryAgainError(Exception):
    """An answer that says nothing but: later. Its text is the answer's code."""


@dataclass
class Budget:
    """The pace of one reader of one shard: a call waits until the calls before it are paid off.

    Attributes:
        reads_per_second: Calls; zero for no limit.
        bytes_per_second: Bytes of answers; zero for no limit.
    """

    reads_per_second: float
    bytes_per_second: float
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    _free_at: float = field(default=float("-inf"), init=False)

    def wait(self) -> None:
        """Wait until the shard may be read again."""
        pause = self._free_at - self.clock()
        if pause > 0:
            self.sleep(pause)

    def spend(self, size: int) -> None:
        """Count one call whose answer held `size` bytes."""
        call = 1 / self.reads_per_second if self.reads_per_second else 0.0
        answer = size / self.bytes_per_second if self.bytes_per_second else 0.0
        self._free_at = self.clock() + max(call, answer)


@dataclass
class Patience:
    """Asks again after throttles and failures that pass, with full jitter, until its time is up.

    Attributes:
        seconds: How long one call may take with all its repeats.
        draw: Returns a number from 0 to its argument.
        repeats: Calls that were repeated until now.
    """

    seconds: float
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    draw: Callable[[float], float]
    repeats: int = 0

    def ask(self, what: str, call: Callable[[], T]) -> T:
        """Call until there is an answer.

        Raises:
            StreamUnreachableError: There was none in time.
        """
        began, pause = self.clock(), FIRST_PAUSE_SECONDS
        while True:
            try:
                return call()
            except TryAgainError as later:
                if self.clock() - began > self.seconds:
                    raise StreamUnreachableError(
                        expected=f"an answer to {what} within {self.seconds:g} s",
                        found=f"{later} until the end",
                        do="Nothing was lost; start the query again when Kinesis answers, or see who else reads.",
                    ) from None
            self.repeats += 1
            self.sleep(self.draw(pause))
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
