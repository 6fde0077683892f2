"""The state machine of a run, the merging of its arguments and the reading of its end."""

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_cloud.glue_driver import command_line, last_error, merge_arguments, submit_arguments
from local_cloud.glue_runs import JobRun, RunState, load_runs, outcome

# Hand-written from the AWS Glue guide: what may follow what.
ALLOWED = {
    ("STARTING", "RUNNING"),
    ("STARTING", "STOPPING"),
    ("STARTING", "FAILED"),
    ("RUNNING", "SUCCEEDED"),
    ("RUNNING", "FAILED"),
    ("RUNNING", "TIMEOUT"),
    ("RUNNING", "STOPPING"),
    ("STOPPING", "STOPPED"),
}


def new_run(**arguments: str) -> JobRun:
    given_arguments = {f"--{name}": value for name, value in arguments.items()}
    return JobRun.new("batch_transform", given_arguments, timeout=60, now=100.0, definition={"GlueVersion": "6.0"})


@pytest.mark.parametrize(("before", "after"), list(itertools.product(RunState, RunState)))
def test_only_glues_own_steps_are_possible(before: RunState, after: RunState) -> None:
    run = new_run()
    run.state = before
    if (str(before), str(after)) in ALLOWED:
        run.advance(after, now=107.4)
        assert run.state is after
        assert (run.completed_on is None) == (str(after) in {"RUNNING", "STOPPING"})
    else:
        with pytest.raises(ValueError, match=f"{before} can't become {after}"):
            run.advance(after, now=107.4)


@pytest.mark.parametrize(
    ("exit_code", "stopping", "timed_out", "expected"),
    [
        (0, False, False, "SUCCEEDED"),
        (1, False, False, "FAILED"),
        (137, False, False, "FAILED"),
        (0, True, False, "STOPPED"),
        (137, True, False, "STOPPED"),
        (143, False, True, "TIMEOUT"),
        (0, False, True, "TIMEOUT"),
        (137, True, True, "STOPPED"),
    ],
)
def test_the_end_of_the_driver_decides_the_state(
    exit_code: int, stopping: bool, timed_out: bool, expected: str
) -> None:
    assert outcome(exit_code, stopping=stopping, timed_out=timed_out) == expected


def test_a_finished_run_shows_its_time() -> None:
    run = new_run(step="all")
    run.advance(RunState.RUNNING, now=101.0)
    run.advance(RunState.FAILED, now=107.4, error_message="out of songs")
    shown = run.to_api()
    assert (shown["StartedOn"], shown["CompletedOn"], shown["ExecutionTime"]) == (100.0, 107.4, 7)
    assert (shown["JobRunState"], shown["ErrorMessage"]) == ("FAILED", "out of songs")
    assert shown["Arguments"] == {"--step": "all"}
    assert shown["GlueVersion"] == "6.0"
    assert "PreviousRunId" not in shown


def test_retries_are_numbered_from_the_first_run(tmp_path: Path) -> None:
    first = new_run(step="all")
    second = first.retry(now=110.0)
    third = second.retry(now=120.0)
    assert (second.id, third.id) == (f"{first.id}_attempt_1", f"{first.id}_attempt_2")
    assert (third.attempt, third.previous_run_id, third.arguments) == (2, second.id, first.arguments)
    for run in (third, first, second):
        run.save(tmp_path)
    assert load_runs(tmp_path) == [first, second, third]


names = st.sampled_from(["--step", "--mode", "--raw_bucket", "--JOB_NAME", "--conf"])
some_arguments = st.dictionaries(names, st.text(min_size=1, max_size=5))


@given(some_arguments, some_arguments, some_arguments)
def test_a_runs_arguments_win_over_defaults_and_fixed_ones_over_all(
    defaults: dict[str, str], own: dict[str, str], fixed: dict[str, str]
) -> None:
    run = new_run()
    run.arguments = own
    merged = merge_arguments({"DefaultArguments": defaults, "NonOverridableArguments": fixed}, run)
    for name in {*defaults, *own, *fixed}:
        given_values = [source[name] for source in (fixed, own) if name in source]
        glues = [run.job_name] if name == "--JOB_NAME" else []
        assert merged[name] == [*given_values, *glues, defaults.get(name)][0]
    assert merged["--JOB_RUN_ID"] == run.id


def test_the_script_gets_every_argument() -> None:
    words = command_line(Path("job.py"), {"--conf": "a=b --conf c=d", "--step": "all"})
    assert words[1:] == ["job.py", "--conf", "a=b --conf c=d", "--step", "all"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, ""),
        ({"--conf": "a=b"}, "--conf a=b "),
        ({"--conf": "a=b --conf c=d"}, "--conf a=b --conf c=d "),
        ({"--conf": "a='b c'"}, "--conf 'a=b c' "),
    ],
)
def test_declared_spark_settings_reach_the_session(arguments: dict[str, str], expected: str) -> None:
    key = "--conf spark.hadoop.fs.s3a.access.key=batch_transform "
    assert submit_arguments(arguments, access_key="batch_transform") == f"{key}{expected}pyspark-shell"


@pytest.mark.parametrize(
    ("log", "exit_code", "expected"),
    [
        ("", 3, "the driver ended with exit code 3"),
        ("", 137, "the driver was killed by signal 9"),
        ("working\n", 137, "the driver was killed by signal 9"),
        ("Traceback\n  File x\nValueError: no songs\n", 1, "ValueError: no songs"),
        ("lakehouse.errors.BalanceError: 1 row\nWARN shutting down\n", 1, "lakehouse.errors.BalanceError: 1 row"),
        ('{"level": "ERROR", "message": "run failed", "exception": "T\\nX: y"}\nbye\n', 1, "run failed X: y"),
        ('{"level": "INFO", "message": "ok"}\nthe last word\n', 1, "the last word"),
    ],
)
def test_the_log_says_why_a_run_failed(tmp_path: Path, log: str, exit_code: int, expected: str) -> None:
    file = tmp_path / "driver.log"
    file.write_text(log)
    assert last_error(file, exit_code) == expected


def test_a_run_in_progress_is_json(tmp_path: Path) -> None:
    run = new_run()
    run.save(tmp_path)
    loaded: list[Any] = load_runs(tmp_path)
    assert loaded == [run]
    assert loaded[0].state is RunState.STARTING
