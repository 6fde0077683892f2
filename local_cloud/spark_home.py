"""Spark's home on the laptop: the `pyspark` package's own, without the archives of its Python code.

Spark puts `python/lib/pyspark.zip` first on the path of every Python process that it starts. The archive holds no
bytecode, so each of them would compile PySpark anew, which takes a second of a core, while the same package lies beside
the archive, installed and compiled. Where the archive is missing, Python imports that one.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Final

_NEEDED: Final = ("bin", "jars")


def link_spark_home(folder: Path) -> None:
    """Make `folder` a home of the installed Spark, by links to what starts it and to its jars."""
    installed = find_spec("pyspark")
    if installed is None or installed.origin is None:
        raise AssertionError("expected pyspark among the project's own packages")
    folder.mkdir(parents=True, exist_ok=True)
    for name in _NEEDED:
        link = folder / name
        link.unlink(missing_ok=True)
        link.symlink_to(Path(installed.origin).parent / name)
