"""Settings: what is rendered is what is parsed, and what is wrong is said clearly."""

from __future__ import annotations

from dataclasses import Field, fields
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse import settings
from lakehouse.dag_settings import DagSettings
from lakehouse.errors import LeaseError, ListenlakeError, SettingsError, SourceError

RECORDS: list[type[settings.Settings]] = [
    settings.Places,
    settings.IngestSettings,
    settings.TransformSettings,
    settings.KpiSettings,
    settings.TriggerSettings,
    DagSettings,
]
PLACES = {"--raw_bucket": "r", "--curated_bucket": "c", "--presentation_bucket": "p"}
# A value never starts with a dash (argparse would read an option), save for the lone dash that means "none".
TEXTS = st.one_of(st.just("-"), st.text(min_size=1).filter(lambda text: not text.startswith("-")))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "str": TEXTS,
    "int": st.integers(),
    "float": st.floats(min_value=0, allow_infinity=False),
    "date | None": st.none() | st.dates(),
}


def values_of(item: Field[Any]) -> st.SearchStrategy[Any]:
    limits = item.metadata
    if limits["choices"]:
        return st.sampled_from(limits["choices"])
    values = VALUES[str(item.type)]
    if str(item.type) in {"int", "float"}:
        return values.map(lambda number: min(max(number, limits["minimum"]), limits["maximum"])).map(
            int if item.type == "int" else float
        )
    return values


@st.composite
def records(draw: st.DrawFn) -> settings.Settings:
    kind = draw(st.sampled_from(RECORDS))
    return kind(**{item.name: draw(values_of(item)) for item in fields(kind)})


def flatten(arguments: dict[str, str]) -> list[str]:
    return [word for pair in arguments.items() for word in pair]


@given(records())
def test_arguments_round_trip_between_those_of_glue(record: settings.Settings) -> None:
    words = ["--JOB_NAME", "j", *flatten(record.to_arguments()), "--wake_generation", "7", "--enable-metrics", "true"]
    assert type(record).parse(words, {}) == record


@given(records())
def test_environment_round_trips(record: settings.Settings) -> None:
    assert type(record).parse([], record.to_environment() | {"PATH": "/bin", "LISTENLAKE_OTHER": "x"}) == record


@given(records())
def test_no_argument_is_empty(record: settings.Settings) -> None:
    assert all(record.to_arguments().values())


def test_an_argument_goes_before_the_environment_and_before_the_default() -> None:
    words = flatten(PLACES)
    assert settings.Places.parse(words, {}).stream == "listens"
    assert settings.Places.parse(words, {"LISTENLAKE_STREAM": "e"}).stream == "e"
    assert settings.Places.parse([*words, "--stream", "a"], {"LISTENLAKE_STREAM": "e"}).stream == "a"


def test_both_spellings_and_the_equals_sign_are_read() -> None:
    words = ["--raw-bucket", "r", "--curated_bucket=c", "--presentation-bucket=p"]
    assert settings.Places.parse(words, {}) == settings.Places(
        raw_bucket="r", curated_bucket="c", presentation_bucket="p"
    )


def test_an_abbreviation_is_not_ours() -> None:
    assert settings.KpiSettings.parse([*flatten(PLACES), "--mod", "recompute"], {}).mode == "incremental"


@pytest.mark.parametrize(
    ("kind", "words", "message"),
    [
        (settings.Places, [], r"expected --raw_bucket or the variable LISTENLAKE_RAW_BUCKET .*; found neither"),
        (settings.TransformSettings, ["--step", "merge"], r"one of transform, archive, all, maintain; found 'merge'"),
        (settings.TriggerSettings, ["--max_failures", "many"], r"--max_failures as int; found 'many'"),
        (settings.IngestSettings, ["--trigger_seconds", "soon"], r"--trigger_seconds as float; found 'soon'"),
        (
            settings.IngestSettings,
            ["--future_tolerance_seconds", "86401"],
            r"--future_tolerance_seconds from 0 to 86400; found '86401'",
        ),
        (settings.IngestSettings, ["--late_after_seconds", "-1"], r"--late_after_seconds from 0 to 3e\+09; found '-1'"),
        (settings.IngestSettings, ["--late_events", "drop"], r"--late_events as one of accept, reject; found 'drop'"),
        (settings.IngestSettings, ["--batch_tries", "0"], r"--batch_tries from 1 to inf; found '0'"),
        (settings.IngestSettings, ["--max_unprocessable", "-1"], r"--max_unprocessable from 0 to inf; found '-1'"),
        (settings.KpiSettings, ["--from_date", "25.06.2024"], r"--from_date as date \| None; found '25.06.2024'"),
    ],
)
def test_a_wrong_setting_is_named_and_ends_with_code_2(
    kind: type[settings.Settings], words: list[str], message: str
) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        kind.parse([*flatten(PLACES), *words] if words else [], {})
    assert caught.value.exit_code == 2


def test_dates_are_read_and_a_dash_is_none() -> None:
    found = settings.KpiSettings.parse([*flatten(PLACES), "--from_date", "2024-06-25", "--to_date", "-"], {})
    assert (found.from_date, found.to_date) == (date(2024, 6, 25), None)


def test_buckets_carry_the_prefix() -> None:
    found = settings.TriggerSettings.with_prefix("acme-dev", max_failures=5)
    assert (found.raw_bucket, found.curated_bucket) == ("acme-dev-lab3-raw", "acme-dev-lab3-curated")
    assert found.presentation_bucket == "acme-dev-lab3-presentation-data"
    assert found.max_failures == 5


def test_every_other_error_ends_with_code_1_and_says_three_things() -> None:
    for kind in (ListenlakeError, LeaseError, SourceError):
        error = kind(expected="this", found="that", do="Do so.")
        assert error.exit_code == 1
        assert str(error) == "expected this; found that. Do so."
