"""Settings of every job and of the Lambda: one frozen record each, read from arguments first, then the environment.

An argument is `--raw_bucket NAME` (Glue's spelling), its variable `LISTENLAKE_RAW_BUCKET`. `infra` renders a job's
default arguments with `to_arguments` from the same records, so what is deployed is what is parsed.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from datetime import date
from typing import Any, ClassVar, Self

from lakehouse import events, layout
from lakehouse.errors import SettingsError

ENVIRONMENT_PREFIX = "LISTENLAKE_"


def setting(
    help_text: str,
    *,
    default: Any = MISSING,
    choices: tuple[str, ...] = (),
    minimum: float = -math.inf,
    maximum: float = math.inf,
) -> Any:
    """Declare one field of a settings record with its help text, default and allowed values."""
    limits = {"choices": choices, "minimum": minimum, "maximum": maximum}
    return field(default=default, metadata={"help": help_text, **limits})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Base of every settings record: parsing, rendering and the checks that need no other field."""

    program: ClassVar[str] = "listenlake"

    @classmethod
    def parse(cls, arguments: Sequence[str], environment: Mapping[str, str]) -> Self:
        """Read the settings; arguments that are not ours (Glue's own, say) pass by.

        Args:
            arguments: Command-line arguments without the program's name.
            environment: Usually `os.environ`.

        Raises:
            SettingsError: A value is missing, malformed or not among the choices.
        """
        parser = argparse.ArgumentParser(prog=cls.program, description=cls.__doc__, allow_abbrev=False)
        for item in fields(cls):
            spellings = dict.fromkeys([f"--{item.name}", f"--{item.name.replace('_', '-')}"])
            shown = item.metadata["help"].replace("%", "%%")
            parser.add_argument(*spellings, dest=item.name, default=None, help=shown)
        found, _ = parser.parse_known_args(list(arguments))
        values: dict[str, Any] = {}
        for item in fields(cls):
            variable = ENVIRONMENT_PREFIX + item.name.upper()
            text = getattr(found, item.name)
            if text is None:
                text = environment.get(variable)
            if text is not None:
                values[item.name] = _convert(str(item.type), text, item.name, item.metadata)
            elif item.default is MISSING:
                raise SettingsError(
                    expected=f"--{item.name} or the variable {variable} ({item.metadata['help']})",
                    found="neither",
                    do='On the laptop, `eval "$(.venv/bin/listenlake env)"` sets the variables of the running cloud.',
                )
        return cls(**values)

    def to_arguments(self) -> dict[str, str]:
        """Render every field as Glue arguments; `parse` of these gives an equal record."""
        return {f"--{item.name}": _render(getattr(self, item.name)) for item in fields(self)}

    def to_environment(self) -> dict[str, str]:
        """Render every field as environment variables; `parse` of these gives an equal record."""
        return {ENVIRONMENT_PREFIX + item.name.upper(): _render(getattr(self, item.name)) for item in fields(self)}


def _convert(annotation: str, text: str, name: str, limits: Mapping[str, Any]) -> Any:
    kinds: dict[str, Any] = {"str": str, "int": int, "float": float, "date | None": _date_or_none}
    try:
        value = kinds[annotation](text)
    except ValueError:
        raise SettingsError(expected=f"--{name} as {annotation}", found=repr(text), do="Correct the value.") from None
    choices, lowest, highest = limits["choices"], limits["minimum"], limits["maximum"]
    if choices and value not in choices:
        raise SettingsError(
            expected=f"--{name} as one of {', '.join(choices)}", found=repr(text), do="Correct the value."
        )
    if isinstance(value, int | float) and not lowest <= value <= highest:
        raise SettingsError(
            expected=f"--{name} from {lowest:g} to {highest:g}", found=repr(text), do="Correct the value."
        )
    return value


def _date_or_none(text: str) -> date | None:
    return date.fromisoformat(text) if text != "-" else None


def _render(value: object) -> str:
    # Glue refuses an empty argument value, so "no date" is a dash.
    return "-" if value is None else str(value)


@dataclass(frozen=True, kw_only=True)
class Places(Settings):
    """Names of the resources that every stage shares."""

    raw_bucket: str = setting("bucket of events, dimension files and bad records")
    curated_bucket: str = setting("bucket of the curated Delta tables")
    presentation_bucket: str = setting("bucket of the KPI Delta tables and the validation metrics")
    stream: str = setting("Kinesis stream of listens", default="listens")
    control_table: str = setting("DynamoDB table of leases, counters and progress", default="listenlake_control")
    daily_listens_table: str = setting("DynamoDB table of daily genre KPIs", default="daily_listens_by_genre")
    top_genres_table: str = setting("DynamoDB table of daily genre charts", default="top_genres_by_date")

    @classmethod
    def with_prefix(cls, prefix: str, **others: Any) -> Self:
        """Return settings whose bucket names carry `prefix`."""
        return cls(
            raw_bucket=layout.bucket_name(layout.RAW_ROLE, prefix),
            curated_bucket=layout.bucket_name(layout.CURATED_ROLE, prefix),
            presentation_bucket=layout.bucket_name(layout.PRESENTATION_ROLE, prefix),
            **others,
        )


@dataclass(frozen=True, kw_only=True)
class JobSettings(Places):
    """What every Glue job takes beside the places."""

    kill_at: str = setting("for crash tests: the commit boundary at which the run kills itself", default="-")


@dataclass(frozen=True, kw_only=True)
class IngestSettings(JobSettings):
    """Settings of the streaming job."""

    program: ClassVar[str] = layout.INGEST_JOB

    trigger_seconds: float = setting("seconds between micro-batches, and between looks for CSV files", default=10.0)
    stream_source: str = setting(
        "the source of this project, or AWS Glue's own (only on Glue)",
        default="listenlake_kinesis",
        choices=("listenlake_kinesis", "kinesis"),
    )
    starting_position: str = setting(
        "where a new checkpoint starts", default="TRIM_HORIZON", choices=("TRIM_HORIZON", "LATEST", "AT_TIMESTAMP")
    )
    starting_timestamp: str = setting("ISO 8601 time for AT_TIMESTAMP; a dash otherwise", default="-")
    drain: str = setting(
        "end when everything that was in the stream at the start is ingested",
        default="false",
        choices=("true", "false"),
    )
    max_records_per_shard: int = setting("records read from one shard in one micro-batch", default=50_000)
    max_bytes_per_shard: int = setting("bytes after which a shard is left to the next one", default=134_217_728)
    max_fetch_seconds: float = setting("seconds after which fetching is left to the next one", default=10.0)
    shard_reads_per_second: float = setting("GetRecords calls a shard, of the 5 that Kinesis allows", default=5.0)
    shard_bytes_per_second: float = setting("bytes a shard, of the 2 MB that Kinesis allows", default=2_097_152.0)
    fail_on_data_loss: str = setting("stop when records were trimmed unread", default="true", choices=("true", "false"))
    late_after_seconds: int = setting(
        "seconds after its listen from which an event is late",
        default=int(events.LATE_AFTER.total_seconds()),
        minimum=0,
        maximum=3_000_000_000,
    )
    late_events: str = setting("take late events, or reject them", default="accept", choices=("accept", "reject"))
    future_tolerance_seconds: int = setting(
        "seconds before its listen that an event may arrive; a day before, it is impossible in any case",
        default=int(events.FUTURE_TOLERANCE.total_seconds()),
        minimum=0,
        maximum=int(events.MAX_CLOCK_SKEW.total_seconds()),
    )
    future_events: str = setting("take future events, or reject them", default="accept", choices=("accept", "reject"))
    batch_tries: int = setting("failed tries of a micro-batch after which it is written apart", default=3, minimum=1)
    max_unprocessable: int = setting(
        "records that fail alone and are set aside in one micro-batch before the run fails", default=100, minimum=0
    )
    kinesis_endpoint: str = setting("endpoint of Kinesis; a dash means the SDK's own choice", default="-")
    kinesis_role: str = setting("role to assume for reading the stream; a dash for none", default="-")


@dataclass(frozen=True, kw_only=True)
class BatchSettings(JobSettings):
    """What the owners of Delta tables take for their care."""

    settled_days: int = setting("days after which a listen_date counts as no longer written", default=3)
    retain_hours: float = setting("hours for which files that a table no longer uses are kept", default=168.0)


@dataclass(frozen=True, kw_only=True)
class TransformSettings(BatchSettings):
    """Settings of batch_transform."""

    program: ClassVar[str] = layout.TRANSFORM_JOB

    step: str = setting(
        "merge only, archive what was merged, both, or take care of the table",
        default="all",
        choices=("transform", "archive", "all", "maintain"),
    )
    dry_run: str = setting("say what would be done and change nothing", default="false", choices=("true", "false"))
    breaker_rate: float = setting(
        "share of the input, 0 to 1, above which rejects stop the run", default=0.2, minimum=0, maximum=1
    )
    breaker_minimum: int = setting("events of input below which the share says nothing", default=1_000, minimum=0)


@dataclass(frozen=True, kw_only=True)
class KpiSettings(BatchSettings):
    """Settings of kpi_transformation."""

    program: ClassVar[str] = layout.KPI_JOB

    mode: str = setting(
        "what changed since the last run, every date of the range again, serve all anew, or take care of tables",
        default="incremental",
        choices=("incremental", "recompute", "rebuild", "maintain"),
    )
    from_date: date | None = setting("first listen_date of a recompute", default=None)
    to_date: date | None = setting("last listen_date of a recompute", default=None)
    repair: str = setting(
        "put right what a recompute finds different, instead of failing", default="false", choices=("true", "false")
    )


@dataclass(frozen=True, kw_only=True)
class TriggerSettings(Places):
    """Settings of the Lambda `start_jobs`, read from its environment."""

    program: ClassVar[str] = "start_jobs"

    max_failures: int = setting("failed runs in a row after which a job waits for an operator", default=3)
