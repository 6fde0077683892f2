"""Archives that a worker has looked into: forgotten, and found again when they are needed."""

from __future__ import annotations

import importlib
import sys
import zipfile
import zipimport
from pathlib import Path

import pytest

from lakehouse.python_workers import forget_archives


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
    forget_archives()
    assert str(archive) not in sys.path_importer_cache
    assert importlib.import_module("second_of_archive").told == 2
