"""The tree of errors that end a run. A bad *record* is data with a reason (`lakehouse.events`), never an exception.

    ListenlakeError
    ├── SettingsError            a setting is missing or malformed (exit code 2)
    ├── DimensionError           users.csv or songs.csv can't be used (`batch_jobs.dimensions`)
    ├── BalanceError             rows went missing or were multiplied (`batch_jobs`)
    ├── BreakerError             too much of the input was rejected (`batch_jobs.breaker`)
    ├── ServingError             another Delta table is in the place of the one served (`batch_jobs.serving`)
    ├── DriftError               what is published is not what the listens give (`batch_jobs.recomputing`)
    ├── DeltaLogError            a Delta log has a hole (`lakehouse.delta_log`)
    ├── LeaseError
    │   ├── LeaseHeldError       another run of the job is alive (`lakehouse.leases`)
    │   └── LeaseLostError       this run stalled and was replaced (`lakehouse.leases`)
    ├── TooManyUnprocessableError  more records fail alone than may (`streaming_jobs.isolation`)
    ├── BatchInterruptedError    a failing micro-batch was asked to stop (`streaming_jobs.micro_batches`)
    ├── SourceError
    │   ├── StreamNotFoundError  (`streaming_jobs.ingest_listens`)
    │   ├── DropError            a CSV file could not be ingested (`streaming_jobs.csv_drops`)
    │   ├── StreamUnreachableError  Kinesis refused for too long (`streaming_jobs.kinesis_source`)
    │   └── DataLossError        records were trimmed before they were read (`streaming_jobs.kinesis_source`)
    ├── UnknownMessageError      the Lambda can't read a message (`lambdas.start_jobs.messages`)
    ├── SlotNotFreeError         Glue refuses a run although none is alive (`lambdas.start_jobs.trigger`)
    ├── ProducerError            input can't be replayed (`producers`)
    │   ├── LaneError            one lane of a delivery gave up (`producers.lanes`)
    │   └── DeliveryError        delivery gave up; it carries the account of what was acknowledged
    ├── WatchError               a stream can't be watched (`listenlake.watch`)
    │   ├── WatchBusyError       another watch works in the folder
    │   └── KinesisClientMissingError  the extra `kcl` is not installed
    └── LocalCloudError          the laptop lacks something, or a deploy failed (`local_cloud`)

Each message says what was expected, what was found and what to do.
"""

from __future__ import annotations

from typing import Any


class ListenlakeError(Exception):
    """Root of every error that ends a run with exit code 1."""

    exit_code = 1

    def __init__(self, *, expected: str, found: str, do: str) -> None:
        """Compose the one message a user sees.

        Args:
            expected: What the run needed.
            found: What it met instead.
            do: The next step for whoever reads the message.
        """
        super().__init__(f"expected {expected}; found {found}. {do}")
        self.expected = expected
        self.found = found
        self.do = do

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle whole: an error of another process, whose arguments have names, would break the pool instead."""
        return _again, (type(self), str(self), self.__dict__)


def _again(kind: type[ListenlakeError], message: str, attributes: dict[str, Any]) -> ListenlakeError:
    error = kind.__new__(kind, message)
    error.__dict__.update(attributes)
    return error


class SettingsError(ListenlakeError):
    """A setting is missing or malformed."""

    exit_code = 2


class LeaseError(ListenlakeError):
    """A job may not write now."""


class SourceError(ListenlakeError):
    """The stream can't be read as asked."""


class BalanceError(ListenlakeError):
    """Rows that went in don't equal the rows accounted for."""


class BreakerError(ListenlakeError):
    """Too much of a run's input was rejected. The trigger knows it by its name and parks the request at once."""
