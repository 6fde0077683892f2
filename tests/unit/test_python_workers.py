"""What a worker is spared around a task: archives that it has looked into, and garbage among what it has loaded."""

from __future__ import annotations

import gc
import importlib
import itertools
import sys
import zipfile
import zipimport
from pathlib import Path

import pytest

from lakehouse import python_workers
from lakehouse.python_workers import begin_task


def test_archives_are_forgotten_and_modules_in_them_are_still_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "some.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("first_of_archive.py", "told = 1")
        file.writestr("second_of_archive.py", "told = 2")
    monkeypatch.syspath_prepend(str(archive))
    assert importlib.import_module("first_of_archive").told == 1
    assert isinstance(sys.path_importer_cache[str(archive)], zipimport.zipimporter)
    begin_task()
    assert str(archive) not in sys.path_importer_cache
    assert importlib.import_module("second_of_archive").told == 2


def test_what_a_worker_has_loaded_is_looked_through_no_more_from_its_second_task_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(python_workers, "_TASKS", itertools.count(1))
    gc.unfreeze()
    counts, left = [], list[list[dict[str, int]]]()
    try:
        for _ in range(4):
            begin_task()
            counts.append(gc.get_freeze_count())
            left.append([{} for _ in range(1_000)])
    finally:
        gc.unfreeze()
    assert counts[0] == 0
    assert counts[1] > 0
    assert counts[2] <= counts[1] and counts[3] <= counts[1]
