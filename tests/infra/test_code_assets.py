"""What is shipped to Glue and Lambda: the right rooms, the same bytes each time."""

import zipfile
from pathlib import Path

import pytest

from infra.code_assets import BuildError, build_wheel, copy_lambda_code
from infra.configuration import PROJECT, Configuration
from lakehouse.errors import SettingsError
from local_cloud.assembly import fingerprint


def test_the_wheel_is_the_same_each_time_and_holds_what_glue_runs(tmp_path: Path) -> None:
    first = build_wheel(PROJECT, tmp_path / "first")
    second = build_wheel(PROJECT, tmp_path / "second")
    assert first.read_bytes() == second.read_bytes()
    rooms = {name.split("/")[0] for name in zipfile.ZipFile(first).namelist()}
    assert {room for room in rooms if not room.endswith(".dist-info")} == {"lakehouse", "streaming_jobs", "batch_jobs"}


def test_the_lambda_gets_two_rooms_and_what_they_import(tmp_path: Path) -> None:
    copied = copy_lambda_code(PROJECT, tmp_path)
    found = {path.name for path in copied.iterdir() if not path.name.endswith(".dist-info")}
    assert found == {"lakehouse", "lambdas", "aws_lambda_powertools", "jmespath", "typing_extensions.py"}
    # Neither of one machine nor of one Python: the function runs on arm64.
    assert not [path for path in copied.rglob("*") if path.suffix in {".pyc", ".so", ".pyd"}]


def test_a_package_with_compiled_code_is_not_shipped(tmp_path: Path) -> None:
    for room in ("lakehouse", "lambdas"):
        (tmp_path / room).mkdir()
    (tmp_path / "pyproject.toml").write_text('[project.optional-dependencies]\nlambdas = ["numpy>=2"]\n')
    with pytest.raises(BuildError, match="numpy as Python alone"):
        copy_lambda_code(tmp_path, tmp_path / "asset")


def test_a_broken_build_says_so(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "not a version"\n')
    for room in ("lakehouse", "streaming_jobs", "batch_jobs"):
        (tmp_path / room).mkdir()
    with pytest.raises(BuildError, match="expected one wheel"):
        build_wheel(tmp_path, tmp_path / "wheel")


def test_configuration_survives_the_context(tmp_path: Path) -> None:
    configuration = Configuration(
        prefix="acme",
        environment="prod",
        shards="4",
        maintenance_window="Tue:05",
        alarm_email="listens@example.org",
        tags={"team": "data", "query": "a=b"},
        project=tmp_path,
    )
    assert Configuration.from_context(configuration.to_context()) == configuration
    assert Configuration.from_context({"listenlake:prefix": "acme"}) == Configuration(prefix="acme")


@pytest.mark.parametrize(
    ("given", "environment", "shards"),
    [("", "prod", None), ("", "dev", 2), ("7", "prod", 7), ("on-demand", "dev", None)],
)
def test_shards_are_the_environments_unless_given(given: str, environment: str, shards: int | None) -> None:
    assert Configuration(prefix="acme", environment=environment, shards=given).provisioned_shards == shards


@pytest.mark.parametrize(
    "wrong", [{"environment": "production"}, {"shards": "0"}, {"shards": "-2"}, {"shards": "many"}, {"tags": "team"}]
)
def test_context_that_aws_would_refuse_is_refused_at_once(wrong: dict[str, str]) -> None:
    context = {"listenlake:prefix": "acme"} | {f"listenlake:{name}": value for name, value in wrong.items()}
    with pytest.raises(SettingsError, match=next(iter(wrong.values()))):
        Configuration.from_context(context)


@pytest.mark.parametrize("prefix", ["", "a", "Big", "under_score", "x" * 40, "-dash"])
def test_prefixes_that_make_no_bucket_name_are_refused(prefix: str) -> None:
    with pytest.raises(SettingsError, match="prefix"):
        Configuration(prefix=prefix)


def test_unknown_context_is_refused() -> None:
    with pytest.raises(SettingsError, match="colour"):
        Configuration.from_context({"listenlake:prefix": "acme", "listenlake:colour": "red"})


def test_a_changed_source_or_setting_makes_another_assembly(tmp_path: Path) -> None:
    (tmp_path / "lakehouse").mkdir()
    source = tmp_path / "lakehouse" / "layout.py"
    source.write_text("A = 1\n")
    configuration = Configuration(prefix="acme")
    before = fingerprint(tmp_path, configuration)
    assert fingerprint(tmp_path, configuration) == before
    assert fingerprint(tmp_path, Configuration(prefix="acme", shards="9")) != before
    source.write_text("A = 2\n")
    assert fingerprint(tmp_path, configuration) != before
