"""Open-loop delivery to Kinesis: batches go out when they are due, whether or not the system keeps up.

Only failed entries of a batch are sent again, and before anything newer: order per key holds from batch to batch.
Nothing acknowledged goes unsaid, nothing unacknowledged is claimed. A call whose answer got lost may have arrived:
its records are sent again, so a record may stand in the stream twice under one acknowledgement.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from botocore.exceptions import ClientError, ConnectionError, HTTPClientError  # noqa: A004

from producers.acknowledgements import DeliveryReport
from producers.batching import MAX_BATCH_RECORDS, Batcher
from producers.errors import DeliveryError, ProducerError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable

    import numpy as np
    from mypy_boto3_kinesis import KinesisClient

    from producers.records import Record

RETRIED_CODES: Final = frozenset(
    {
        "InternalFailure",
        "InternalServerError",
        "KMSThrottlingException",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "ServiceUnavailable",
        "ThrottlingException",
    }
)
NO_ANSWER: Final = "no answer"
LONGEST_PAUSE_S: Final = 0.2
"""Waiting for the next batch is cut to this length, so that a stop is heeded at once."""
LINGER_S: Final = 0.05
"""With a rate, how long records gather before a batch goes out."""


@dataclass(frozen=True, kw_only=True)
class DeliverySettings:
    """How records are sent.

    Attributes:
        rate: Records per second; None means as fast as possible.
        duration_s: Seconds after which nothing new is taken up; None means until all is sent.
        max_tries: Calls that one record may fail before delivery gives up.
        first_backoff_s: Upper bound of the first pause; it doubles with each try. The pause is drawn below it.
        longest_backoff_s: Where the doubling ends.
    """

    rate: float | None = None
    duration_s: float | None = None
    max_tries: int = 10
    first_backoff_s: float = 0.1
    longest_backoff_s: float = 5.0


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Time as handed in: `now` in epoch seconds, `elapsed` monotonic, `sleep` in seconds."""

    now: Callable[[], float] = time.time
    elapsed: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


class Delivery:
    """One delivery to one stream."""

    def __init__(
        self,
        kinesis: KinesisClient,
        stream: str,
        settings: DeliverySettings,
        *,
        rng: np.random.Generator,
        clock: Clock,
        stop: threading.Event,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Prepare; nothing is sent yet. `on_progress` gets the numbers sent and acknowledged after each call."""
        self._kinesis, self._stream, self._settings = kinesis, stream, settings
        self._rng, self._clock, self._stop = rng, clock, stop
        self._on_progress = on_progress
        self._started = 0.0
        self.report = DeliveryReport()

    def run(self, records: Iterable[Record]) -> DeliveryReport:
        """Send the records until they end, the duration ends or `stop` is set; a batch begun is finished.

        Raises:
            DeliveryError: The stream is missing, refuses, or a record failed `max_tries` times; it carries the report.
        """
        batcher = Batcher(records)
        self._started = self._clock.elapsed()
        last = False
        try:
            while not last and not self._stop.is_set():
                most, last = self._wait_until_due()
                batch = self._take(batcher, most) if most else []
                if not batch:
                    break
                self._note_lag()
                self._send(batch)
        finally:
            self.report.seconds = self._clock.elapsed() - self._started
            self.report.stopped = self._stop.is_set()
        return self.report

    def _take(self, batcher: Batcher, most: int) -> list[Record]:
        try:
            return batcher.take(most)
        except ProducerError as error:
            raise DeliveryError(self.report, expected=error.expected, found=error.found, do=error.do) from error

    def _wait_until_due(self) -> tuple[int, bool]:
        """Return how many records may go out now, and whether the duration ends with them."""
        rate, duration = self._settings.rate, self._settings.duration_s
        while not self._stop.is_set():
            elapsed = self._clock.elapsed() - self._started
            over = duration is not None and elapsed >= duration
            if rate is None:
                return (0 if over else MAX_BATCH_RECORDS), over
            if duration is not None and over:
                return min(max(math.ceil(duration * rate) - self.report.sent, 0), MAX_BATCH_RECORDS), True
            due_at = self._batch_due_at(rate)
            if elapsed >= due_at:
                return min(int(elapsed * rate) + 1 - self.report.sent, MAX_BATCH_RECORDS), False
            wait = due_at - elapsed if duration is None else min(due_at, duration) - elapsed
            self._clock.sleep(min(wait, LONGEST_PAUSE_S))
        return 0, True

    def _batch_due_at(self, rate: float) -> float:
        """Return when the next batch has gathered, in seconds from the start: record n is due at n / rate."""
        gathered = min(MAX_BATCH_RECORDS, max(1, int(rate * LINGER_S)))
        return (self.report.sent + gathered - 1) / rate

    def _note_lag(self) -> None:
        if self._settings.rate is not None:
            lag = self._clock.elapsed() - self._started - self._batch_due_at(self._settings.rate)
            self.report.longest_lag_s = max(self.report.longest_lag_s, lag)

    def _send(self, batch: list[Record]) -> None:
        """Send one batch, and its failed entries again until all are acknowledged."""
        first = self.report.sent
        self.report.shard_ids += [None] * len(batch)
        self.report.sequence_numbers += [None] * len(batch)
        self.report.sent_at += [self._clock.now()] * len(batch)
        open_places = list(range(len(batch)))
        tries = 0
        while open_places:
            codes = self._put(batch, first, open_places)
            if self._on_progress is not None:
                self._on_progress(self.report.sent, self.report.acknowledged)
            open_places = list(codes)
            tries += 1
            if not open_places:
                return
            if tries >= self._settings.max_tries:
                raise DeliveryError(
                    self.report,
                    expected=f"every record acknowledged by stream {self._stream!r} within {tries} tries",
                    found=f"{len(open_places)} records still failing with {', '.join(sorted(set(codes.values())))}",
                    do="Lower the rate or give the stream more shards, then send the rest.",
                )
            for code in codes.values():
                self.report.retried[code] = self.report.retried.get(code, 0) + 1
            bound = min(self._settings.longest_backoff_s, self._settings.first_backoff_s * 2 ** (tries - 1))
            self._clock.sleep(float(self._rng.uniform(0.0, bound)))

    def _put(self, batch: list[Record], first: int, places: list[int]) -> dict[int, str]:
        """Make one call; return the places in the batch that failed, each with its error code."""
        entries = [{"Data": batch[place].payload, "PartitionKey": batch[place].partition_key} for place in places]
        try:
            answer = self._kinesis.put_records(StreamName=self._stream, Records=entries)  # type: ignore[arg-type]
        except (ConnectionError, HTTPClientError):
            return dict.fromkeys(places, NO_ANSWER)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in RETRIED_CODES:
                return dict.fromkeys(places, code)
            raise self._refused(code) from error
        failed: dict[int, str] = {}
        for place, result in zip(places, answer["Records"], strict=True):
            if "SequenceNumber" in result and not result.get("ErrorCode"):
                self.report.shard_ids[first + place] = result["ShardId"]
                self.report.sequence_numbers[first + place] = result["SequenceNumber"]
                self.report.acknowledged += 1
            else:
                failed[place] = result.get("ErrorCode", "unknown")
        return failed

    def _refused(self, code: str) -> DeliveryError:
        if code == "ResourceNotFoundException":
            found, do = "no stream of that name", "Check the name, region and endpoint, or create the stream first."
        else:
            found, do = f"the refusal {code}", "Check credentials, permissions and the stream's encryption key."
        return DeliveryError(self.report, expected=f"the Kinesis stream {self._stream!r}", found=found, do=do)
